package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// backend is a process that answers requests at the live endpoints.
type backend struct {
	process *exec.Cmd
	port    int
}

func startBackend(ctx context.Context) (*backend, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	b := &backend{}
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	b.process = exec.Command(self, "-backend", strconv.Itoa(b.port))
	b.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	b.process.Stderr = os.Stderr
	if err := b.process.Start(); err != nil {
		return nil, fmt.Errorf("start backend: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(liveAddress(2*endpointsPerGroup-1), strconv.Itoa(b.port)))
		if err == nil {
			return b, c.Close()
		}
		if waited := pause(ctx, 20*time.Millisecond); waited != nil {
			b.stop()
			return nil, fmt.Errorf("reach backend: %w", err)
		}
	}
}

func (b *backend) stop() {
	_ = b.process.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	_ = b.process.Wait()                          // its status says only how it was stopped
}

// serveBackend answers requests with a little text at all live endpoints until ctx ends.
func serveBackend(ctx context.Context, port string) error {
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("hello\n")) // whoever does not read it has gone
		}),
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	failed := make(chan error, 2*endpointsPerGroup)
	for n := range 2 * endpointsPerGroup {
		l, err := net.Listen("tcp", net.JoinHostPort(liveAddress(n), port))
		if err != nil {
			_ = s.Close()
			return fmt.Errorf("listen: %w", err)
		}
		serving.Go(func() { failed <- s.Serve(l) })
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		_ = s.Close()
		return err
	}
	return nil
}

// Load that leaves room on two cores: connections, and requests a second on each.
const (
	connections   = 16
	perConnection = 60
)

// requests loads the first listener for a while and returns the 99th percentile of the latency in microseconds. It is an error
// when a request fails.
func requests(ctx context.Context, dir string, port int, length time.Duration) (float64, error) {
	return loaded(ctx, filepath.Join(dir, "latency.log"), "127.0.0.1", port, length)
}

// pair is requests through weir and, at the same time, as many that go straight to the backend: what the machine and the rest of
// the bench do to latency shows in both, and only what weir does in the first.
func (b *bench) pair(ctx context.Context, port int, length time.Duration) (through, direct float64, err error) {
	type outcome struct {
		p99 float64
		err error
	}
	beside := make(chan outcome, 1)
	go func() {
		p99, err := loaded(ctx, filepath.Join(b.dir, "direct.log"), liveAddress(1), b.backend.port, length)
		beside <- outcome{p99, err}
	}()
	through, err = requests(ctx, b.dir, port, length)
	d := <-beside
	return through, d.p99, errors.Join(err, d.err)
}

// loaded is requests to a server.
func loaded(ctx context.Context, log, host string, port int, length time.Duration) (float64, error) {
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("clear latency log: %w", err)
	}
	args := []string{
		"--h1", "-c", strconv.Itoa(connections), "--rps", strconv.Itoa(perConnection),
		"-D", strconv.Itoa(int(length.Round(time.Second).Seconds())), "--log-file=" + log,
	}
	for r := range routesPerHost {
		args = append(args, fmt.Sprintf("http://%s/r%d", net.JoinHostPort(host, strconv.Itoa(port)), r))
	}
	out, err := exec.CommandContext(ctx, "h2load", args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run h2load: %w: %s", err, out)
	}
	if _, err := measure.H2load(string(out)); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, fmt.Errorf("read latency log: %w", err)
	}
	return measure.Quantile(string(text), 0.99)
}
