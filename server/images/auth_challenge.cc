#include "server/images/auth_challenge.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace berth {
namespace {

// RFC 9110, section 5.6.2
bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(c) || absl::StrContains("!#$%&'*+-.^_`|~", c);
}

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }
  void SkipSpace() { text_ = absl::StripLeadingAsciiWhitespace(text_); }
  void SkipSpaceAndCommas() {
    while (!text_.empty() && (text_[0] == ',' || absl::ascii_isspace(text_[0]))) Advance(1);
  }

  std::string Token() {
    size_t end = 0;
    while (end < text_.size() && IsTokenCharacter(text_[end])) ++end;
    std::string token(text_.substr(0, end));
    Advance(end);
    return token;
  }

  bool Eat(char c) {
    if (text_.empty() || text_[0] != c) return false;
    Advance(1);
    return true;
  }

  // The rest of a quoted string whose opening quote was eaten; false if it never ends.
  bool Quoted(std::string* value) {
    while (!text_.empty()) {
      char c = text_[0];
      Advance(1);
      if (c == '"') return true;
      if (c == '\\') {
        if (text_.empty()) return false;
        c = text_[0];
        Advance(1);
      }
      value->push_back(c);
    }
    return false;
  }

  absl::string_view rest() const { return text_; }
  void Restore(absl::string_view rest) { text_ = rest; }

 private:
  void Advance(size_t count) { text_.remove_prefix(count); }
  absl::string_view text_;
};

// name=value; restores the scanner and returns false if there is none.
bool Parameter(Scanner* scanner, AuthChallenge* challenge) {
  const absl::string_view start = scanner->rest();
  std::string name = scanner->Token();
  scanner->SkipSpace();
  if (name.empty() || !scanner->Eat('=')) {
    scanner->Restore(start);
    return false;
  }
  scanner->SkipSpace();
  std::string value;
  if (scanner->Eat('"')) {
    if (!scanner->Quoted(&value)) {
      scanner->Restore("");
      return false;
    }
  } else {
    value = scanner->Token();
  }
  absl::AsciiStrToLower(&name);
  challenge->parameters.emplace(std::move(name), std::move(value));
  return true;
}

}  // namespace

std::vector<AuthChallenge> ParseAuthChallenges(absl::string_view header) {
  std::vector<AuthChallenge> challenges;
  Scanner scanner(header);
  while (true) {
    scanner.SkipSpaceAndCommas();
    AuthChallenge challenge;
    challenge.scheme = scanner.Token();
    if (challenge.scheme.empty()) return challenges;
    absl::AsciiStrToLower(&challenge.scheme);
    do {
      scanner.SkipSpaceAndCommas();
    } while (Parameter(&scanner, &challenge));
    challenges.push_back(std::move(challenge));
  }
}

}  // namespace berth
