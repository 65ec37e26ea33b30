package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
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
	b.process = exec.Command("nice", "-n", priority, self, "-backend", strconv.Itoa(b.port))
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

// backendText is the body of each answer.
const backendText = "hello\n"

// serveBackend answers requests with a little text at all live endpoints until ctx ends.
func serveBackend(ctx context.Context, port string) error {
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(backendText)) // whoever does not read it has gone
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
