package admin

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// run serves until the test's end.
func run(t *testing.T, s *Server) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "address")
	entries := make(chan Access, 8)
	s := newServer(t, newFake(t), func(o *Options) {
		o.AddressPath = path
		o.AccessLog = func(a *Access) { entries <- *a }
	})
	run(t, s)
	address, err := os.ReadFile(path)
	if err != nil || string(address) != s.Addr().String() || strings.HasSuffix(string(address), ":0") {
		t.Fatalf("address file %q, %v; listening at %s", address, err, s.Addr())
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if status, body := get(t, &http.Client{Transport: transport}, "http://"+string(address)+"/ready?x"); status != 200 || body != "LIVE\n" {
		t.Errorf("%d %q", status, body)
	}
	a := <-entries
	if a.Method != "GET" || a.Path != "/ready?x" || a.Status != 200 || a.Sent != 5 || !a.Remote.IsValid() || a.Local.String() != string(address) ||
		a.RequestHeader.Get("User-Agent") == "" || a.ResponseHeader.Get("Content-Type") != typeText || a.Protocol != "HTTP/1.1" {
		t.Errorf("access log: %+v", a)
	}
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	if status, body := get(t, &http.Client{Transport: h2}, "http://"+string(address)+"/ready"); status != 200 || body != "LIVE\n" {
		t.Errorf("HTTP/2: %d %q", status, body)
	}
	if a := <-entries; a.Protocol != "HTTP/2.0" {
		t.Errorf("access log: %+v", a)
	}
	_, counted := get(t, &http.Client{Transport: transport}, "http://"+string(address)+"/stats?filter=admin.downstream_(rq_2xx|cx_total)|admin.http")
	for _, want := range []string{"http.admin.downstream_rq_2xx: 2\n", "http.admin.downstream_cx_total: 2\n", "listener.admin.http.admin.downstream_rq_2xx: 2\n"} {
		if !strings.Contains(counted, want) {
			t.Errorf("no %q in\n%s", want, counted)
		}
	}
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := New(Options{Pipe: path}); err == nil {
		t.Fatal("made without what is required")
	}
	pipe := func(o *Options) { o.Pipe, o.Mode = path, 0o660 }
	if err := tryPipe(t, pipe); err == nil || !strings.Contains(err.Error(), "is served by another process") {
		t.Errorf("a socket in use was taken: %v", err)
	}
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newFake(t), pipe)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	run(t, s)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	if status, body := get(t, &http.Client{Transport: transport}, "http://unix/ready"); status != 200 || body != "LIVE\n" {
		t.Errorf("%d %q", status, body)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryPipe(t, func(o *Options) { o.Pipe = file }); err == nil {
		t.Error("an ordinary file was replaced")
	}
}

// tryPipe gives the error of making a server.
func tryPipe(t *testing.T, edit func(*Options)) error {
	base := newServer(t, newFake(t), nil).opt
	edit(&base)
	s, err := New(base)
	if err == nil {
		t.Cleanup(func() { _ = s.Close(context.Background()) })
	}
	return err
}

// TestCloseWaits has a request under way while the server closes: it gets its answer.
func TestCloseWaits(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, newFake(t), func(o *Options) {
		o.FlushStats = func() { close(begun); <-release }
	})
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	answer := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr().String() + "/stats")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		answer <- err
	}()
	<-begun
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	if err := <-ended; err != nil { // Run ends once nothing new is accepted
		t.Error(err)
	}
	close(release)
	for name, ch := range map[string]chan error{"request": answer, "close": closed} {
		if err := <-ch; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestCloseCutsOff does the same with a request that never ends.
func TestCloseCutsOff(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	s := newServer(t, newFake(t), func(o *Options) {
		o.FlushStats = func() {
			if once.CompareAndSwap(false, true) {
				close(begun)
			}
			<-release
		}
	})
	t.Cleanup(func() { close(release) })
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("a request that was cut off is not told of")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestPages reads the pages as XML, which they also are but for their void elements, and looks for anything external.
func TestPages(t *testing.T) {
	void := regexp.MustCompile(`(<(?:meta|input)\b[^>]*)>`)
	s := newServer(t, newFake(t), nil)
	for _, target := range []string{"/", "/stats?format=html", "/stats?format=active-html"} {
		w := ask(s, http.MethodGet, target)
		body := w.Body.String()
		d := xml.NewDecoder(strings.NewReader(void.ReplaceAllString(body, "$1/>")))
		d.Entity = xml.HTMLEntity
		ids := map[string]bool{}
		var forms []string
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			for _, a := range e.Attr {
				switch a.Name.Local {
				case "id":
					if ids[a.Value] {
						t.Errorf("%s: id %s twice", target, a.Value)
					}
					ids[a.Value] = true
				case "form", "for":
					forms = append(forms, a.Value)
				case "src":
					t.Errorf("%s loads %s", target, a.Value)
				case "href", "action":
					if id, ok := strings.CutPrefix(a.Value, "#"); ok {
						forms = append(forms, id)
					} else if s.endpoints[a.Value] == nil {
						t.Errorf("%s leads to %s", target, a.Value)
					}
				}
			}
		}
		for _, id := range forms {
			if !ids[id] {
				t.Errorf("%s refers to %s, which is not there", target, id)
			}
		}
		if w.Header().Get("Content-Security-Policy") == "" || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
			t.Errorf("%s is not closed against the outside", target)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, raw := range []string{
		"", "a=b&c", "filter=%5Ecluster%5C.x&usedonly", "%zz=%", "format=json&filter=(", "mask=cluster.name,,.", "resource=static_clusters&mask=a.b",
		"name_regex=(?i)x%2B", "level=info&paths=", "paths=a:b,:,", "enable=y", "histogram_buckets=none&format=html", "\x00\xff",
	} {
		f.Add(raw)
	}
	s := newServer(f, newFake(f), nil)
	f.Fuzz(func(t *testing.T, raw string) {
		for name := range parseQuery(raw) {
			if !parseQuery(raw).has(name) {
				t.Fatalf("%q is and is not there", name)
			}
		}
		for path, e := range s.endpoints {
			if path == "/cpuprofiler" || path == "/heapprofiler" || path == "/heap_dump" {
				continue
			}
			method := http.MethodGet
			if e.mutates {
				method = http.MethodPost
			}
			r := httptest.NewRequest(method, path, nil)
			r.URL.RawQuery = raw
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
				t.Fatalf("%s?%q: %d %s", path, raw, w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), secretBytes[:16]) {
				t.Fatalf("%s?%q shows a secret", path, raw)
			}
		}
	})
}

// TestSlowClients has clients that ask for a large page and read nothing: others get their answers, and the end does not wait.
func TestSlowClients(t *testing.T) {
	f := newFake(t)
	s := newServer(t, f, func(o *Options) { o.Clusters = endless{} })
	ended := make(chan error, 1)
	go func() { ended <- s.Run() }()
	for _, page := range []string{"/clusters", "/clusters?format=json"} {
		for range 8 {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if _, err := io.WriteString(c, "GET "+page+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if status, body := get(t, &http.Client{Transport: transport}, "http://"+s.Addr().String()+"/ready"); status != 200 || body != "LIVE\n" {
		t.Errorf("%d %q", status, body)
	}
	if got := s.metrics.rqActive.Value(); got < 16 {
		t.Errorf("%d requests are under way: the pages are not large enough", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("requests that were cut off are not told of")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// endless are clusters without number: a client that reads them never comes to an end.
type endless struct{}

func (endless) Clusters(func(string) bool) iter.Seq[Cluster] {
	return func(yield func(Cluster) bool) {
		for c := allClusters()[1]; yield(c); {
			continue
		}
	}
}
