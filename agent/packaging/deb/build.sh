#!/bin/sh
# Builds gpufleet-agent_VERSION_ARCH.deb, with what it depends on inside, for the Python of this machine's distribution:
#   agent/packaging/deb/build.sh [FOLDER]
# PYTHON is that Python (/usr/bin/python3), PIP a pip that may be another's (python3 -m pip).
set -eu
agent=$(cd "$(dirname "$0")/../.." && pwd)
packaging=$agent/packaging
out=${1:-.}
python=${PYTHON:-/usr/bin/python3}
pip=${PIP:-$python -m pip}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

lib=$stage/usr/lib/gpufleet-agent
$pip --python "$python" install -q --no-compile --target "$lib" "$agent"
rm -rf "$lib/bin" "$lib/share"
# Compiled once, here: compiling at each start costs memory, and the service may not write there.
"$python" -m compileall -q -s "$stage" "$lib"

install -D -m 755 "$packaging/deb/gpufleet-agent" "$stage/usr/bin/gpufleet-agent"
install -D -m 644 "$packaging/systemd/gpufleet-agent.service" "$stage/usr/lib/systemd/system/gpufleet-agent.service"
install -D -m 644 "$packaging/systemd/sysusers.conf" "$stage/usr/lib/sysusers.d/gpufleet-agent.conf"
install -D -m 644 "$packaging/systemd/kernel-log.conf" "$stage/usr/share/doc/gpufleet-agent/kernel-log.conf"
install -D -m 640 "$packaging/agent.toml" "$stage/etc/gpufleet/agent.toml"

version=$(PYTHONPATH=$lib "$python" -c 'import gpufleet_agent; print(gpufleet_agent.__version__)')
this=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$("$python" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
arch=$(dpkg --print-architecture)
mkdir "$stage/DEBIAN"
cat >"$stage/DEBIAN/control" <<END
Package: gpufleet-agent
Version: $version
Architecture: $arch
Maintainer: gpufleet maintainers <maintainers@gpufleet.invalid>
Installed-Size: $(du -sk "$stage" | cut -f1)
Depends: python3 (>= $this), python3 (<< $next~), systemd
Section: admin
Priority: optional
Description: gpufleet node agent
 Reads the GPU driver of this node and reports to a gpufleet server.
END
echo /etc/gpufleet/agent.toml >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$packaging/deb/$script" "$stage/DEBIAN/$script"
done
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$stage" "$out/gpufleet-agent_${version}_$arch.deb"
