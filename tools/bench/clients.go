package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// handshakeLoad makes full handshakes, each followed by one request that ends the connection.
func handshakeLoad(ctx context.Context, b *bench, p *proxy) (float64, error) {
	cert, _ := certificate()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, SessionTicketsDisabled: true}
	ctx, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	var done atomic.Int64
	var failure atomic.Pointer[error]
	cpu, err := withCPU(p, func() error {
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for ctx.Err() == nil {
					if err := handshake(p.port, cfg); err != nil {
						failure.CompareAndSwap(nil, &err)
						return
					}
					done.Add(1)
				}
			})
		}
		clients.Wait()
		return nil
	})
	switch e := failure.Load(); {
	case err != nil:
		return 0, err
	case e != nil:
		return 0, fmt.Errorf("handshake: %w", *e)
	}
	return float64(done.Load()) / cpu.Seconds(), nil
}

func handshake(port int, cfg *tls.Config) error {
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	return get(c, bufio.NewReader(c), "close")
}

// get makes one request and reads the whole response.
func get(w io.Writer, r *bufio.Reader, connection string) error {
	if _, err := fmt.Fprintf(w, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n\r\n", connection); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return nil
}

// idleConnections is how many connections wait in the idle scenario.
const idleConnections = 8000

// idleLoad opens connections that each make one request and then wait, and returns the memory that one of them takes.
func idleLoad(ctx context.Context, b *bench, p *proxy) (_ float64, err error) {
	if err := b.restart(ctx, p); err != nil { // memory that was used once is not given back at once
		return 0, err
	}
	before, err := p.resident()
	if err != nil {
		return 0, err
	}
	conns := make([]net.Conn, 0, idleConnections)
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	for range idleConnections {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		if err := get(c, bufio.NewReader(c), "keep-alive"); err != nil {
			return 0, err
		}
	}
	select { // let a proxy settle that frees in the background
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(b.duration):
	}
	after, err := p.resident()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / idleConnections, nil
}
