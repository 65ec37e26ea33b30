package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// The file that is sent and comes back, and the address that it is sent to, which exists nowhere either.
const (
	fileSize = 16 << 20
	filesAt  = "10.99.0.2"
)

// echo is a server that gives back what it gets.
type echo struct {
	port    int
	server  *http.Server
	serving sync.WaitGroup
}

func newEcho() (*echo, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start server of files: %w", err)
	}
	e := &echo{port: l.Addr().(*net.TCPAddr).Port}
	e.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, fileSize+1))
		if err != nil {
			return // curl tells
		}
		_, _ = w.Write(body)
	})}
	e.serving.Go(func() { _ = e.server.Serve(l) }) // ends with close
	return e, nil
}

func (e *echo) close() error {
	err := e.server.Close()
	e.serving.Wait()
	return err
}

// way is how a file may go.
type way struct {
	offload, mode, told string
}

func ways() []way {
	return []way{
		{"AUTO", "OFF", "offload: the kernel connects curl to the server, past weir"},
		{"OFF", "OFF", "no offload, no acceleration: every byte through TCP, twice"},
		{"OFF", "RECEIVE", "acceleration RECEIVE: what curl sends to weir goes past TCP"},
		{"OFF", "FULL", "acceleration FULL: what weir sends to curl, too"},
	}
}

// outcome is what became of a transfer, as weir tells it.
type outcome struct {
	offloaded, proxied uint64 // connections
	mode, why          string
	past               uint64 // bytes past TCP
}

// files sends the same file in every way.
func (s *shop) files(ctx context.Context) (err error) {
	s.step("The same file, past weir, through it, and past TCP")
	server, err := newEcho()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	file := make([]byte, fileSize)
	_, _ = rand.Read(file) // never fails (crypto/rand)
	path := filepath.Join(s.dir, "file")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	s.say("%d MB to http://%s/ and back; weir is started anew for each line", fileSize>>20, filesAt)
	s.command("curl --data-binary @file -o back http://" + filesAt + "/")
	for i, w := range ways() {
		if err := s.send(ctx, server, i, w, file); err != nil {
			return err
		}
	}
	return nil
}

// send starts a weir for one of the ways, sends the file, and compares.
func (s *shop) send(ctx context.Context, server *echo, n int, w way, file []byte) (err error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("files-%d", n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	config := filepath.Join(dir, "files.yaml")
	if err := write(config, "files.yaml", map[string]any{
		"AdminPort": fastAdminPort, "Address": filesAt, "Port": server.port, "Cgroup": s.name, "Offload": w.offload, "Mode": w.mode,
	}); err != nil {
		return err
	}
	d, err := startDaemon(ctx, dir, config, fastAdminPort)
	defer func() { err = errors.Join(err, d.stop()) }()
	if err != nil {
		return err
	}
	back := filepath.Join(dir, "back")
	c, err := s.order.curl(ctx, true, "--data-binary", "@"+filepath.Join(s.dir, "file"), "-o", back, "http://"+filesAt+"/")
	if err != nil {
		return err
	}
	got, err := os.ReadFile(back)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read what came back: %w", err)
	}
	what, err := d.outcome(ctx)
	if err != nil {
		return err
	}
	s.say("\n%s", w.told)
	s.judge(w, &what)
	s.check(c.status == 0 && bytes.Equal(got, file), "the file came back as it was%s", trouble(c))
	return nil
}

func trouble(c curled) string {
	if c.status == 0 {
		return ""
	}
	return fmt.Sprintf(" (curl ended with status %d: %s)", c.status, firstLine(c.err))
}

// judge compares what happened with what should. A kernel that is not trusted with acceleration is not a failure.
func (s *shop) judge(w way, what *outcome) {
	s.say("  weir: %d connections offloaded, %d proxied, %.1f MB past TCP", what.offloaded, what.proxied, mb(int64(what.past)))
	if w.offload == "AUTO" {
		s.check(what.offloaded == 1 && what.proxied == 0, "no byte went through weir")
		return
	}
	s.check(what.offloaded == 0 && what.proxied == 1, "weir proxied the connection")
	least := map[string]uint64{"OFF": 0, "RECEIVE": fileSize / 8, "FULL": fileSize / 8}
	most := map[string]uint64{"OFF": 0, "RECEIVE": fileSize + 1<<20, "FULL": 2*fileSize + 1<<20}
	switch {
	case what.mode == w.mode:
		s.check(least[w.mode] <= what.past && what.past <= most[w.mode], "%d bytes went past TCP", what.past)
	default:
		s.say("  mode %s is in force: %s", what.mode, what.why)
	}
}

// outcome asks weir what became of the connection.
func (d *daemon) outcome(ctx context.Context) (out outcome, err error) {
	body, err := d.get(ctx, "/weir/interception")
	if err != nil {
		return out, err
	}
	var page struct {
		Reasons []struct {
			Reason string `json:"reason"`
			Count  uint64 `json:"count"`
		} `json:"reasons"`
		Acceleration struct {
			Mode  string `json:"mode"`
			Why   string `json:"why"`
			Bytes uint64 `json:"bytes"`
		} `json:"acceleration"`
	}
	page.Acceleration.Mode = "OFF"
	if err := json.Unmarshal(body, &page); err != nil {
		return out, fmt.Errorf("read decisions of the kernel: %w", err)
	}
	for _, r := range page.Reasons {
		switch r.Reason {
		case "captured":
			out.proxied = r.Count
		case "offloaded":
			out.offloaded = r.Count
		}
	}
	out.mode, out.why, out.past = page.Acceleration.Mode, page.Acceleration.Why, page.Acceleration.Bytes
	return out, nil
}
