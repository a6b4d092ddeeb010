// Ids in the filters of lists: unambiguous beginnings are enough.
#ifndef BERTH_SERVER_FILTER_ID_H_
#define BERTH_SERVER_FILTER_ID_H_

#include <string>

namespace berth {

// Makes *id, the id of a filter, a full one by `find` (Store::FindPod or FindContainer). False if it
// fits nothing or several: then the list is empty. An empty id stays empty.
template <typename Find>
bool ResolveFilterId(const Find& find, std::string* id) {
  if (id->empty()) return true;
  const auto record = find(*id);
  if (!record.ok()) return false;
  *id = (*record)->id();
  return true;
}

}  // namespace berth

#endif  // BERTH_SERVER_FILTER_ID_H_
