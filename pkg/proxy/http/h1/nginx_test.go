package h1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// mutants is how many changed copies of each seed are tried.
const mutants = 300

// TestNginxReadsWhatIsSentOn replays the corpus: whatever the parser accepts is sent on to a real nginx, which must take it
// for exactly one request that is in order.
func TestNginxReadsWhatIsSentOn(t *testing.T) {
	addr := startNginx(t)
	rnd := rand.New(rand.NewPCG(3, 5))
	tried := 0
	for _, seed := range corpus(t) {
		for i := range mutants {
			in := seed
			if i > 0 {
				in = mutate(seed, rnd)
			}
			for _, raw := range forNginx(in, uint64(i)) {
				tried++
				if err := oneRequest(addr, raw); err != nil {
					t.Fatalf("nginx reads %q, sent on for %q: %v", raw, in, err)
				}
			}
		}
	}
	t.Logf("%d requests", tried)
	if tried < 500 {
		t.Errorf("only %d requests were accepted: the mutations are too wild to tell anything", tried)
	}
}

// corpus is the seeds of FuzzRequest and what fuzzing has found.
func corpus(t *testing.T) (all [][]byte) {
	t.Helper()
	for _, c := range malformedRequests {
		if len(c.in) < 4096 {
			all = append(all, []byte(strings.ReplaceAll(c.in, "~", "\r\n")))
		}
	}
	for _, c := range acceptedRequests {
		all = append(all, []byte(strings.ReplaceAll(c.in, "~", "\r\n")))
	}
	for _, body := range []string{"3;x=y~abc~0~~", "3~abc~0~a: b~c: d~~", "a~0123456789~1~x~0~~"} {
		all = append(all, []byte(strings.ReplaceAll("POST /a?b HTTP/1.1~Host: a~X-Y: z~Transfer-Encoding: chunked~~"+body, "~", "\r\n")))
	}
	files, err := filepath.Glob("testdata/fuzz/FuzzRequest/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(string(text), "\n"); len(lines) > 1 {
			if in, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(lines[1], "[]byte("), ")")); err == nil {
				all = append(all, []byte(in))
			}
		}
	}
	return all
}

// mutate changes a few bytes: those that parsers disagree about.
func mutate(seed []byte, rnd *rand.Rand) []byte {
	const odd = "\r\n\t :,;\x00\x0b\x7f\xffaA0="
	out := bytes.Clone(seed)
	for range 1 + rnd.IntN(3) {
		at := rnd.IntN(len(out))
		switch rnd.IntN(4) {
		case 0:
			out[at] = odd[rnd.IntN(len(odd))]
		case 1:
			out = append(out[:at], out[at+1:]...)
		case 2:
			out = append(out[:at], append([]byte{odd[rnd.IntN(len(odd))]}, out[at:]...)...)
		default:
			from := rnd.IntN(len(out))
			piece := bytes.Clone(out[from:min(len(out), from+rnd.IntN(12))])
			out = append(out[:at], append(piece, out[at:]...)...)
		}
		if len(out) == 0 {
			return bytes.Clone(seed)
		}
	}
	return out
}

// forNginx serves what is in and returns the requests as they are sent on. Host and target are replaced, about which nginx
// has tastes of its own, and so are repeated fields, of which it allows some once.
func forNginx(in []byte, seed uint64) (sent [][]byte) {
	opt := options()
	opt.HTTP1.EnableTrailers, opt.LingerTimeout = true, 1
	_ = NewServer(newCut(in, seed), opt).Serve(context.Background(), &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		if r.Protocol != "" || r.Method == "CONNECT" {
			return
		}
		if r.Body != nil {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			r.Body = message.NewBytes(b)
		}
		once := map[string]bool{}
		for i := 0; i < r.Headers.Len(); {
			if name := strings.ToLower(r.Headers.At(i).Name); once[name] {
				r.Headers.Del(name)
			} else {
				once[name] = true
				i++
			}
		}
		r.Authority, r.Path = "example.com", "/weir"
		sent = append(sent, forward(r))
		_ = s.WriteResponse(&message.Response{Status: 204})
	}})
	return sent
}

// oneRequest sends a request and another one behind it, and fails unless both are answered, in order and not with 400.
func oneRequest(addr string, raw []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(append(bytes.Clone(raw), "GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"...)); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	method, _, _ := strings.Cut(string(raw), " ")
	for i, want := range []string{"/weir", "/next"} {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return fmt.Errorf("response %d: %w", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return fmt.Errorf("response %d: %w", i, err)
		}
		if resp.StatusCode == http.StatusBadRequest || resp.Header.Get("X-Uri") != want {
			return fmt.Errorf("response %d: status %d for %q", i, resp.StatusCode, resp.Header.Get("X-Uri"))
		}
		method = http.MethodGet
	}
	rest, err := io.ReadAll(in)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q follows", rest)
	}
	return err
}

const nginxConf = `
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
  access_log off; client_max_body_size 0; large_client_header_buffers 8 128k; underscores_in_headers on;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; add_header X-Uri $request_uri always; location / { return 200 ok; } }
}`

// startNginx runs an nginx that answers everything with 200 and the target it read; the test is skipped without one.
func startNginx(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, addr), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "error.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // nginx appends to it, too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cmd := exec.Command(path, "-p", dir, "-c", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // with the signal's status
	})
	await.Nil(t, "nginx listens", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w: %s", err, said)
	})
	return addr
}
