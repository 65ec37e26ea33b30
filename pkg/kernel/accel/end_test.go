package accel

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/await"
)

// roles gives who reads and who writes: into applications, or into the proxy.
func roles(full bool, app, proxy *net.TCPConn) (reader, writer *net.TCPConn) {
	if full {
		return app, proxy
	}
	return proxy, app
}

// TestUnreadBytesOutliveTCP has redirected bytes wait in a socket that TCP is done with, in every order of the two FINs.
func TestUnreadBytesOutliveTCP(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(t *testing.T, reader, writer *net.TCPConn)
	}{
		{"reader half-closed first", func(t *testing.T, reader, writer *net.TCPConn) {
			noError(t, reader.CloseWrite())
			mustRead(t, writer, "")
			mustWrite(t, writer, "unread")
			writer.Close()
		}},
		{"reader half-closed last", func(t *testing.T, reader, writer *net.TCPConn) {
			mustWrite(t, writer, "unread")
			noError(t, writer.CloseWrite())
			noError(t, reader.CloseWrite())
			mustRead(t, writer, "")
		}},
		{"writer closed while it had half-closed", func(t *testing.T, reader, writer *net.TCPConn) {
			mustWrite(t, writer, "unread")
			noError(t, writer.CloseWrite())
			noError(t, reader.CloseWrite())
			mustRead(t, writer, "")
			writer.Close()
		}},
	} {
		for name, full := range map[string]bool{"receive": false, "full": true} {
			t.Run(name+", "+test.name, func(t *testing.T) {
				r := newRig(t, Options{}, full)
				app, proxy, _ := r.connect(t, 0)
				reader, writer := roles(full, app, proxy)
				test.end(t, reader, writer)
				if s := r.mustStatus(t); s.Bytes != uint64(len("unread")) {
					t.Fatalf("nothing was redirected: %+v", s)
				}
				waitClosed(t, reader)
				mustRead(t, reader, "unread")
			})
		}
	}
}

// TestSameAddressesAgain has a connection between the same addresses and ports as one that is over, of which an application has
// not read everything.
func TestSameAddressesAgain(t *testing.T) {
	r := newRig(t, Options{}, true)
	app, proxy, _ := r.connect(t, 0)
	mustWrite(t, proxy, "first")
	noError(t, app.CloseWrite())
	proxy.Close()
	waitClosed(t, app)
	again, proxy, _ := r.connect(t, int(addrOf(app.LocalAddr()).Port()))
	mustWrite(t, proxy, "second")
	proxy.Close()
	if s := r.mustStatus(t); s.Bytes != uint64(len("firstsecond")) {
		t.Fatalf("not all was redirected: %+v", s)
	}
	mustRead(t, again, "second")
	mustRead(t, app, "first")
}

// TestUnreadBytesOutliveTheProxy has everything be unloaded while an application has not read all.
func TestUnreadBytesOutliveTheProxy(t *testing.T) {
	r := newRig(t, Options{}, true)
	app, proxy, lane := r.connect(t, 0)
	mustWrite(t, proxy, "unread")
	apps, sources := mapID(t, r.objects.Apps), mapID(t, r.objects.Sources)
	proxy.Close()
	noError(t, r.Close())
	if !alive(sources) {
		t.Error("unloaded while a lane is in use")
	}
	lane.Release()
	waitGone(t, sources)
	mustRead(t, app, "unread")
	if !alive(apps) {
		t.Error("what held the unread bytes was unloaded")
	}
	app.Close()
	waitGone(t, apps)
}

// TestSendAfterShutdown expects TCP's own answer.
func TestSendAfterShutdown(t *testing.T) {
	r := newRig(t, Options{}, true)
	app, proxy, _ := r.connect(t, 0)
	noError(t, app.CloseWrite())
	noError(t, proxy.CloseWrite())
	for name, c := range map[string]*net.TCPConn{"application": app, "proxy": proxy} {
		var errno error
		control(t, c, func(fd int) { _, errno = unix.SendmsgN(fd, []byte("late"), nil, nil, unix.MSG_NOSIGNAL) })
		if errno != syscall.EPIPE {
			t.Errorf("%s: sent behind its FIN: %v", name, errno)
		}
	}
	mustRead(t, app, "")
	mustRead(t, proxy, "")
}

// TestReset has a reset arrive behind unread redirected bytes.
func TestReset(t *testing.T) {
	for name, full := range map[string]bool{"receive": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{}, full)
			app, proxy, _ := r.connect(t, 0)
			reader, writer := roles(full, app, proxy)
			mustWrite(t, writer, "unread")
			noError(t, writer.SetLinger(0))
			writer.Close()
			waitClosed(t, reader)
			got, err := io.ReadAll(reader)
			if string(got) != "unread" || !isReset(err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	noError(t, err)
	id, _ := info.ID()
	return id
}

func alive(id ebpf.MapID) bool {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return false
	}
	m.Close()
	return true
}

func waitGone(t *testing.T, id ebpf.MapID) {
	t.Helper()
	await.True(t, fmt.Sprintf("map %d is gone", id), func() bool { return !alive(id) })
}
