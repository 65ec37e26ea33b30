package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// haproxy starts one that hands connections to a port on loopback, with splice(2), on one thread, and gives its port.
func (b *bench) haproxy(ctx context.Context, to int) (int, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	config := filepath.Join(b.dir, fmt.Sprintf("haproxy-%d.cfg", port))
	text := fmt.Sprintf(`global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:%d backlog 4096
  default_backend out
backend out
  server one 127.0.0.1:%d
`, port, to)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return 0, fmt.Errorf("write configuration of haproxy: %w", err)
	}
	c, err := b.rig.spawn(program{name: "haproxy", command: "haproxy", args: []string{"-f", config, "-db"}})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, conn.Close()
		}
		if waited := pause(ctx, 20*time.Millisecond); waited != nil {
			return 0, fmt.Errorf("wait for haproxy: %w\n%s", err, c.said())
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
