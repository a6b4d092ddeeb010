# pushing.bash: make images and push them to a registry by curl. Sourced by push-images and
# make-conformance-images, not run. The caller sets $registry (HOST:PORT) and the array $curl_options.
# Leaves $work, a directory that is removed at exit, and the functions below.
# shellcheck shell=bash disable=SC2034,SC2154

export LC_ALL=C.UTF-8

work=$(mktemp -d "${TMPDIR:-/tmp}/berth-images.XXXXXX")
trap 'rm -rf "$work"' EXIT

case $(uname -m) in
    x86_64) arch=amd64 other_arch=arm64 ;;
    aarch64) arch=arm64 other_arch=amd64 ;;
    *) arch=$(uname -m) other_arch=amd64 ;;
esac

oci=application/vnd.oci.image
docker=application/vnd.docker

request() { curl -fsS --noproxy '*' "${curl_options[@]}" "$@"; }
digest_of() { printf 'sha256:%s' "$(sha256sum "$1" | cut -d' ' -f1)"; }

# blob REPOSITORY FILE: upload the file, unless the repository has it.
blob() {
    local url=http://$registry/v2/$1/blobs digest location
    digest=$(digest_of "$2")
    if request -I "$url/$digest" >"$work/head" 2>/dev/null; then return; fi
    location=$(request -i -X POST -H 'Content-Length: 0' "$url/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    request -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$2" \
        "$location&digest=$digest" >/dev/null
}

# layer NAME DIRECTORY [gzip|zstd]: make $work/NAME.blob, .diff (its diff ID) and .type.
layer() {
    local out=$work/$1
    tar --create --file "$out.tar" --directory "$2" --format=posix --sort=name --owner=0 --group=0 \
        --numeric-owner --mtime=@1577836800 --xattrs --xattrs-include='security.*' \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime .
    digest_of "$out.tar" >"$out.diff"
    case ${3:-gzip} in
        gzip) gzip -1 -n -c "$out.tar" >"$out.blob"; echo tar+gzip >"$out.type" ;;
        zstd) zstd -q -3 -c "$out.tar" >"$out.blob"; echo tar+zstd >"$out.type" ;;
    esac
    rm "$out.tar"
}

# image REPOSITORY:TAG CONFIG-JSON LAYER...: push an image made of layers; with $types=docker in
# Docker's media types. Leaves the manifest in $work/manifest.
image() {
    local repository=${1%:*} tag=${1##*:} config=$2 manifest_type=$oci.manifest.v1+json
    local config_type=$oci.config.v1+json diffs='' layers='' name type
    shift 2
    for name in "$@"; do
        type=$oci.layer.v1.$(cat "$work/$name.type")
        if [ "${types:-oci}" = docker ]; then type=$docker.image.rootfs.diff.tar.gzip; fi
        diffs+=",\"$(cat "$work/$name.diff")\""
        layers+=",{\"mediaType\":\"$type\",\"digest\":\"$(digest_of "$work/$name.blob")\","
        layers+="\"size\":$(stat -c %s "$work/$name.blob")}"
        blob "$repository" "$work/$name.blob"
    done
    if [ "${types:-oci}" = docker ]; then
        manifest_type=$docker.distribution.manifest.v2+json
        config_type=$docker.container.image.v1+json
    fi
    printf '{"created":"2020-01-01T00:00:00Z","architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "${image_arch:-$arch}" "$config" "${diffs#,}" >"$work/config"
    blob "$repository" "$work/config"
    printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%s},"layers":[%s]}' \
        "$manifest_type" "$config_type" "$(digest_of "$work/config")" "$(stat -c %s "$work/config")" \
        "${layers#,}" >"$work/manifest"
    put_manifest "$repository" "$tag" "$manifest_type" "$work/manifest"
}

put_manifest() {
    request -X PUT -H "Content-Type: $3" --data-binary "@$4" "http://$registry/v2/$1/manifests/$2" \
        >/dev/null
}
