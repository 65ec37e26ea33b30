package intercept

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// nobody owns a place in tests: a cookie that no socket has.
const nobody = 1 << 62

// occupy takes one of so many places for nobody.
func (i *Interceptor) occupy(t *testing.T, oneOf uint32) {
	t.Helper()
	for n := uint32(0); n < i.objects.Places.MaxEntries(); n += oneOf {
		if err := i.objects.Places.Put(n, &wireOffload{Owner: nobody}); err != nil {
			t.Fatal(err)
		}
	}
}

// vacant finds no place that has been kept from those that come, other than those that are nobody's.
func (i *Interceptor) vacant(t *testing.T) {
	t.Helper()
	var o wireOffload
	for n := range i.objects.Places.MaxEntries() {
		if err := i.objects.Places.Lookup(n, &o); err != nil {
			t.Fatal(err)
		}
		if o.Owner != 0 && o.Owner != nobody || o.Displaced != 0 {
			t.Fatalf("place %d: %+v", n, o)
		}
	}
}

// TestPlaces has connections end in every way there is, while their places are free, some of them are taken, or all.
func TestPlaces(t *testing.T) {
	const times = 1000
	for _, test := range []struct {
		name  string
		oneOf uint32
	}{{"free", 0}, {"some taken", 2}, {"all taken", 1}} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			if test.oneOf != 0 {
				b.occupy(t, test.oneOf)
			}
			good, closed := crowd(t, "127.0.0.1:0", "hello"), unused(t)
			b.apply(t, b.offloadPlan("192.0.2.80/32"))
			b.applyServices(t, offloaded("shop", steer.RoundRobin, good, closed))
			got := clients(t, b.dir, burst{
				Addr: nowhere4, Times: times, Threads: 8,
				How: []string{endGreeted, endReset, endAborted, endUnread, endTwice},
			})
			stats := b.idle(t)
			if stats.Total < times || stats.Endpoints[0].ConnectFail != 0 || stats.Endpoints[1].ConnectFail == 0 {
				t.Errorf("%d connections, endpoints %+v", stats.Total, stats.Endpoints)
			}
			if got.Errnos[int(unix.ECONNREFUSED)] == 0 || got.Greetings["hello"] == 0 {
				t.Errorf("clients: %+v", got)
			}
			b.vacant(t)
		})
	}
}

// TestDisplacedConnection asks for the peer of a connection whose place is taken, and looks at it while it is there.
func TestDisplacedConnection(t *testing.T) {
	b := newBench(t)
	b.occupy(t, 1)
	seen := make(chan []LiveSocket, 1)
	endpoint := serve(t, "127.0.0.1:0", func(conn net.Conn) {
		sockets, err := b.LiveSockets()
		if err != nil {
			t.Error(err)
		}
		seen <- sockets
		io.WriteString(conn, "seen")
	})
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, endpoint))
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != "seen" || ans.Peer != nowhere4 {
		t.Fatalf("client: %+v", ans)
	}
	if one := only(t, <-seen, endpoint); !one.Offloaded || one.Service != "shop" {
		t.Errorf("offloaded: %+v", one)
	}
	b.idle(t)
	b.vacant(t)
}
