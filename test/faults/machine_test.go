package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/test/harness"
)

// bootScript makes a root file system in memory of the host's /usr and of what is in "$0/files", and becomes systemd in it. What is
// not of a namespace is left alone: /proc/sys is read-only, and units that would load modules or set the clock are masked.
const bootScript = `
set -e
files=$0/files bin=$1 root=$0/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system var/log var/tmp run tmp proc sys dev old
for l in bin sbin lib lib64; do ln -s "usr/$l" "$l"; done
mount --bind /usr usr && mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 tmpfs usr/local
mkdir usr/local/bin && mount --bind "$bin" usr/local/bin
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts && ln -s pts/ptmx dev/ptmx
for d in null zero full random urandom tty; do : > dev/$d && mount --bind /dev/$d dev/$d; done
mount -t tmpfs -o mode=755 tmpfs run
cp /etc/passwd /etc/group /etc/ld.so.cache etc/
echo 0123456789abcdef0123456789abcdef > etc/machine-id
for u in systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-timesyncd.service systemd-sysusers.service \
	systemd-tmpfiles-setup.service systemd-update-utmp.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount; do ln -s /dev/null etc/systemd/system/$u; done
cp -r "$files"/. .
pivot_root . old
exec env -i container=weir-test PATH=/usr/sbin:/usr/bin chroot . sh -c \
	'umount -l /old && exec /usr/lib/systemd/systemd --unit=basic.target --log-target=journal'
`

// machine is systemd as the first process of a container, in the network namespace of a host and in a cgroup that is all it sees.
type machine struct {
	t      *testing.T
	host   *harness.Host
	cgroup *harness.Cgroup
	boot   *harness.Process
}

// bootMachine starts one that has these files, by path, and waits until its basic units are there.
func bootMachine(t *testing.T, host *harness.Host, files map[string]string) *machine {
	t.Helper()
	for _, program := range []string{"/usr/lib/systemd/systemd", "unshare", "nsenter", "pivot_root"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no systemd to start here: %v", err)
		}
	}
	dir := harness.Dir(t)
	for path, text := range files {
		path = filepath.Join(dir, "files", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, path, text)
	}
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, host: host, cgroup: harness.NewCgroup(t)}
	t.Cleanup(m.clean)
	// The cgroup namespace begins in the cgroup that the process is started in.
	m.boot = host.App().In(m.cgroup).Start("unshare", "--mount", "--cgroup", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
		"bash", "-c", bootScript, dir, filepath.Dir(harness.Binary("weir")))
	harness.EventuallyNil(t, "systemd starts", func() error {
		if m.boot.HasEnded() {
			t.Skipf("systemd cannot be started here: %+v", m.boot.Wait())
		}
		if got := m.run("systemctl", "is-active", "basic.target"); got.Status != 0 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	return m
}

// clean removes the cgroups that systemd made, deepest first. Its processes have been killed, and may still be on their way out.
func (m *machine) clean() {
	h, err := cgroup.Find()
	if err != nil {
		m.t.Error(err)
		return
	}
	var dirs []string
	_ = filepath.WalkDir(m.cgroup.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != m.cgroup.Dir {
			dirs = append(dirs, path)
		}
		return nil // what has gone meanwhile is fine
	})
	slices.Reverse(dirs)
	for deadline := time.Now().Add(harness.Patience); ; {
		var errs []error
		for _, dir := range dirs {
			errs = append(errs, h.Remove(dir))
		}
		if err := errors.Join(errs...); err == nil || time.Now().After(deadline) {
			if err != nil {
				m.t.Error(err)
			}
			return
		}
	}
}

// run runs a command inside, as root and outside of all units.
func (m *machine) run(args ...string) harness.Result {
	m.t.Helper()
	of := fmt.Sprintf("/proc/%d", m.boot.Pid())
	// The process that waits for systemd shares all its namespaces but the one of process ids, where it has put its children alone.
	return m.host.App().Run(append([]string{
		"nsenter", "--mount=" + of + "/ns/mnt", "--cgroup=" + of + "/ns/cgroup", "--ipc=" + of + "/ns/ipc",
		"--uts=" + of + "/ns/uts", "--pid=" + of + "/ns/pid_for_children", "--root=" + of + "/root", "--wd=" + of + "/root",
	}, args...)...)
}

// must is run for a command that has to succeed.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	got := m.run(args...)
	if got.Status != 0 {
		m.t.Fatalf("%s: %+v\n%s", strings.Join(args, " "), got, m.journal())
	}
	return strings.TrimSpace(got.Out)
}

// journal is what weir and systemd, about it, have said.
func (m *machine) journal() string {
	m.t.Helper()
	return m.run("journalctl", "--no-pager", "--output=cat", "--unit=weir.service").Out
}

// property of weir's unit, such as MainPID.
func (m *machine) property(name string) string {
	m.t.Helper()
	return m.must("systemctl", "show", "--value", "--property="+name, "weir.service")
}

// in is an application in the cgroup of a unit.
func (m *machine) in(unit string) harness.App {
	return m.host.App().In(&harness.Cgroup{Dir: filepath.Join(m.cgroup.Dir, "system.slice", unit)})
}
