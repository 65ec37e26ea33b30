package agent

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
)

// TestServerFinderLooksAgain finds who began to listen after sockets were listed, and does not list them without end.
func TestServerFinderLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 10 * time.Millisecond
		var sockets []view.NamespaceSocket
		lists := 0
		f := &serverFinder{own: func() uint64 { return 7 }, list: func() []view.NamespaceSocket {
			lists++
			time.Sleep(cost) // of a clock that stands still else
			return sockets
		}}
		at := netip.MustParseAddrPort("192.0.2.1:80")
		for _, step := range []struct {
			wait         time.Duration
			listens      bool
			lists        int
			wantListener bool
		}{
			{lists: 1},
			{listens: true, lists: 1},
			{wait: 19 * cost, lists: 1},
			{wait: cost + 1, lists: 2, wantListener: true},
			{wait: serversInterval / 2, lists: 2, wantListener: true},
			{wait: serversInterval, lists: 3, wantListener: true},
		} {
			if step.listens {
				sockets = []view.NamespaceSocket{{LiveSocket: intercept.LiveSocket{Local: at, Inode: 5, UID: 33}}}
			}
			time.Sleep(step.wait)
			if s := f.find(7, at); (s.UID == 33) != step.wantListener || lists != step.lists {
				t.Errorf("%+v: found %+v after %d lists", step, s, lists)
			}
		}
	})
}
