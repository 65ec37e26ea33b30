package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

const (
	// bulk is a body that must not be held in memory, mostBulk what weir may hold altogether while it waits.
	bulk     = 100 << 20
	mostBulk = 96 << 20
)

// bulkWorld is a weir in front of hosts that send and take bulk on /one and /two, by HTTP/1.1 and HTTP/2.
type bulkWorld struct {
	host *harness.Host
	weir *harness.Weir
	// sent and taken count what the hosts got rid of and took so far; they take nothing before read is closed.
	sent, taken atomic.Int64
	read        chan struct{}
}

func startBulk(t *testing.T) *bulkWorld {
	t.Helper()
	b := &bulkWorld{host: harness.NewHost(t), read: make(chan struct{})}
	down := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(bulk))
		chunk := make([]byte, 64<<10)
		for range bulk / len(chunk) {
			n, err := w.Write(chunk)
			b.sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	up := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-b.read:
		case <-r.Context().Done():
			return
		}
		chunk := make([]byte, 64<<10)
		for {
			n, err := r.Body.Read(chunk)
			b.taken.Add(int64(n))
			if err != nil {
				fmt.Fprint(w, err)
				return
			}
		}
	}
	handlers := func(p string) []harness.HTTPOption {
		return []harness.HTTPOption{harness.WithHandler(p+"/down", down), harness.WithHandler(p+"/up", up)}
	}
	one := b.host.HTTPBackend("one", "127.0.0.1:0", handlers("/one")...)
	two := b.host.HTTPBackend("two", "127.0.0.1:0", append(handlers("/two"), harness.WithHTTP2())...)
	b.weir = b.host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			`{match: {prefix: /one}, route: {cluster: one, timeout: 0s}}`, `{match: {prefix: /two}, route: {cluster: two, timeout: 0s}}`,
		))}}.YAML()},
		Clusters: []string{harness.Cluster("one", harness.To(one.Addr)), harness.Cluster("two", harness.To(two.Addr), harness.HTTP2())},
	}.YAML()})
	return b
}

// stalls waits until a count has stopped short of the whole.
func stalls(t *testing.T, what string, count *atomic.Int64, whole int64) {
	t.Helper()
	last, since := int64(-1), time.Now()
	harness.Eventually(t, what+" is held back", func() bool {
		if n := count.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	if last >= whole {
		t.Errorf("%s: all %d bytes are gone, though nobody reads", what, last)
	}
}

// A client on HTTP/2 that does not read holds the host back, and then gets everything.
func TestHTTP2SlowReader(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/one/down", "/two/down"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := startBulk(t)
			w := dial2(t, b.host, "127.0.0.1:8080", http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			// The windows are wide open, so that the socket is what stops it.
			if err := w.WriteWindowUpdate(0, 1<<30); err != nil {
				t.Fatal(err)
			}
			if err := w.get(1, path); err != nil {
				t.Fatal(err)
			}
			stalls(t, "the response", &b.sent, bulk)
			bounded(t, b.weir, mostBulk)
			got := 0
			for end := false; !end; {
				f, err := w.ReadFrame()
				if err != nil {
					t.Fatalf("after %d bytes: %v", got, err)
				}
				if d, ok := f.(*http2.DataFrame); ok {
					got, end = got+len(d.Data()), d.StreamEnded()
				}
			}
			if got != bulk {
				t.Errorf("got %d bytes", got)
			}
			bounded(t, b.weir, mostBulk)
		})
	}
}

// A client that opens no windows holds back many streams at once, while another one of the same connection goes on.
func TestHTTP2SlowStreams(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/one/down", "/two/down"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := startBulk(t)
			const slow = 32
			w := dial2(t, b.host, "127.0.0.1:8080", http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
			if err := w.WriteWindowUpdate(0, 1<<30); err != nil {
				t.Fatal(err)
			}
			for n := range slow {
				if err := w.get(stream(n), path); err != nil {
					t.Fatal(err)
				}
			}
			stalls(t, "the responses", &b.sent, slow*bulk)
			bounded(t, b.weir, mostBulk)
			if err := w.get(stream(slow), "/nowhere"); err != nil {
				t.Fatal(err)
			}
			if r := w.mustReply(t, stream(slow)); r.status() != "404" {
				t.Errorf("another stream got %+v", r)
			}
			w.Close()
			b.weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 0 })
		})
	}
}

// A host that does not read holds back what a client on HTTP/2 sends, and then gets everything.
func TestHTTP2SlowHost(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/one/up", "/two/up"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := startBulk(t)
			var given atomic.Int64
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8080"+path, io.LimitReader(countingZeros{&given}, bulk))
			if err != nil {
				t.Fatal(err)
			}
			answer := make(chan string, 1)
			go func() {
				resp, err := b.host.HTTP2Client().Do(req)
				if err != nil {
					answer <- err.Error()
					return
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				answer <- fmt.Sprint(string(body), " ", err)
			}()
			harness.Eventually(t, "the upload begins", func() bool { return given.Load() > 0 })
			stalls(t, "the request", &given, bulk)
			bounded(t, b.weir, mostBulk)
			close(b.read)
			select {
			case got := <-answer:
				if got != "EOF <nil>" || b.taken.Load() != bulk {
					t.Errorf("the answer is %q, the host got %d bytes", got, b.taken.Load())
				}
			case <-time.After(2 * harness.Patience):
				t.Fatal("no answer")
			}
			bounded(t, b.weir, mostBulk)
		})
	}
}

// countingZeros is endless, and counts what was read of it.
type countingZeros struct{ n *atomic.Int64 }

// Read implements io.Reader.
func (z countingZeros) Read(p []byte) (int, error) {
	z.n.Add(int64(len(p)))
	return zeros{}.Read(p)
}
