package hcm_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestBulk sends large bodies both ways, which go from socket to socket, between small ones on the same connections.
func TestBulk(t *testing.T) {
	const size = 10 << 20
	piece := []byte(strings.Repeat("0123456789abcdef", 1<<10))
	sum := func(n int) string {
		h := sha256.New()
		for range n / len(piece) {
			_, _ = h.Write(piece)
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up":
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			_, _ = fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
		case "/down":
			w.Header().Set("Content-Length", fmt.Sprint(size))
			for range size / len(piece) {
				_, _ = w.Write(piece)
			}
		case "/cut":
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = w.Write(piece)
			panic(http.ErrAbortHandler)
		}
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	for range 3 {
		go func() {
			_, _ = fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
			for range size / len(piece) {
				_, _ = c.Write(piece)
			}
		}()
		if _, body := c.read("POST"); body != fmt.Sprintf("%d %s <nil>", size, sum(size)) {
			t.Fatalf("the backend got %s", body)
		}
		c.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := c.read("GET"); len(body) != size || fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != sum(size) {
			t.Fatalf("got %d bytes, or wrong ones", len(body))
		}
	}
	_ = c.Close()
	p.logged(fmt.Sprintf("POST /up 200 - via_upstream %d", size))
	p.logged(fmt.Sprintf("GET /down 200 - via_upstream 0 %d", size))
	c = p.dial()
	c.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
	got, err := io.ReadAll(c)
	if err == nil && len(got) >= size {
		t.Errorf("a response that was cut off arrived as a whole: %d bytes", len(got))
	}
	_ = c.Close()
	p.logged("GET /cut 200 UC")
}
