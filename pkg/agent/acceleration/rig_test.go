package acceleration

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/accel"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/relay"
)

// rig is a proxy that relays from door to backend, with both ends' applications in this process.
type rig struct {
	kernel  *accel.Accelerator
	door    net.Listener
	backend net.Listener
	full    bool
	done    sync.WaitGroup
}

// newRig accelerates for the test's own cgroup; limit 0 is the default.
func newRig(t *testing.T, network string, full bool, limit uint64) *rig {
	t.Helper()
	kernel, err := accel.Load(accel.Options{Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{kernel: kernel, full: full}
	t.Cleanup(func() {
		if err := kernel.Close(); err != nil {
			t.Error(err)
		}
	})
	poller := conntest.Poller(t)
	poller.Accelerate(adapter{kernel, &addresses{}}, 1)
	host := "127.0.0.1:0"
	if network == "tcp6" {
		host = "[::1]:0"
	}
	if r.door, err = net.Listen(network, host); err != nil {
		t.Fatal(err)
	}
	if r.backend, err = net.Listen(network, host); err != nil {
		t.Fatal(err)
	}
	own := kerneltest.OwnCgroup(t)
	var named []string
	if full {
		named = []string{own}
	}
	if err := kernel.Attach([]string{own}, named); err != nil {
		t.Fatal(err)
	}
	if err := kernel.SetDoors([]netip.AddrPort{addrPort(r.door)}); err != nil {
		t.Fatal(err)
	}
	r.done.Go(func() { r.serve(t, poller) })
	t.Cleanup(func() {
		r.door.Close()
		r.backend.Close()
		r.done.Wait()
	})
	return r
}

func addrPort(l net.Listener) netip.AddrPort { return conn.AddrPort(l.Addr()) }

// serve relays every connection until the door closes.
func (r *rig) serve(t *testing.T, poller *conn.Poller) {
	ctx := context.WithoutCancel(t.Context()) // connections end by themselves
	dialer, pool := conn.Dialer{Poller: poller}, &relay.Pool{}
	for {
		nc, err := r.door.Accept()
		if err != nil {
			return
		}
		r.done.Go(func() {
			down, err := poller.Adopt(nc, nil, nil)
			if err != nil {
				nc.Close()
				return
			}
			defer down.Close()
			up, err := dialer.Dial(ctx, addrPort(r.backend))
			if err != nil {
				t.Errorf("dial: %v", err)
				down.Reset()
				return
			}
			defer up.Close()
			ended := make(chan relay.Result, 1)
			relay.Start(ctx, side(down), side(up), relay.Options{Pool: pool}, func(res relay.Result) { ended <- res })
			res := <-ended
			if res.End != relay.Finished && !errors.Is(res.Err, syscall.ECONNRESET) && !errors.Is(res.Err, syscall.EPIPE) {
				t.Errorf("relay: %d: %v", res.End, res.Err)
			}
		})
	}
}

func side(c *conn.Conn) relay.Side { return relay.Side{Conn: c, Abort: c.Abort, Reset: c.Reset} }

// status reads the counters.
func (r *rig) status(t *testing.T) accel.Status {
	t.Helper()
	s, err := r.kernel.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
