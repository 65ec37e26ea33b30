package owners

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"

	"golang.org/x/sys/unix"
)

func TestContainer(t *testing.T) {
	id := "0123456789abcdef" + strings.Repeat("0", 48)
	for _, tc := range []struct{ name, want string }{
		{"/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope", "0123456789ab"},
		{"/system.slice/docker-" + id + ".scope", "0123456789ab"},
		{"/docker/" + id, "0123456789ab"},
		{"/kubepods/besteffort/pod1/" + id, "0123456789ab"},
		{"/system.slice/shop.service", "shop"},
		{"/user.slice/user-0.slice/session-3.scope", "session-3"},
		{"/weir.exec/one", "one"},
		{"/docker-" + strings.ToUpper(id) + ".scope", "docker-" + strings.ToUpper(id)},
		{"/", "/"},
	} {
		if got := Container(tc.name); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestOwners looks for a socket of its own.
func TestOwners(t *testing.T) {
	h, err := cgroup.Find()
	if err != nil {
		t.Skip(err)
	}
	dir, err := h.Of(0)
	if err != nil {
		t.Skip(err)
	}
	group, err := cgroup.ID(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	me := view.Owner{PID: os.Getpid(), Command: strings.TrimSpace(string(comm)), Container: Container(h.Name(dir))}
	inode := inodeOf(t, l.(*net.TCPListener))
	unknown := view.Owner{Container: me.Container}
	for _, tc := range []struct {
		name   string
		socket intercept.LiveSocket
		want   view.Owner
	}{
		{"noted", intercept.LiveSocket{PID: uint32(me.PID), Cgroup: group}, me},
		{"noted, in a cgroup that is gone", intercept.LiveSocket{PID: uint32(me.PID), Cgroup: 1 << 62}, me},
		{"found", intercept.LiveSocket{Inode: inode, Cgroup: group}, me},
		{"handed over", intercept.LiveSocket{PID: 1 << 30, Inode: inode, Cgroup: group}, me},
		{"nobody's", intercept.LiveSocket{Inode: 1<<32 - 1, Cgroup: group}, unknown},
		{"nothing known", intercept.LiveSocket{Inode: inode}, view.Owner{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := New(h).Owners([]view.NamespaceSocket{{LiveSocket: tc.socket}})
			if len(got) != 1 || got[0] != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func inodeOf(t *testing.T, l *net.TCPListener) uint32 {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); err != nil {
		t.Fatal(err)
	}
	return uint32(stat.Ino)
}
