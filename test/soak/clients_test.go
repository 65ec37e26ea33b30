package soak

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// pause between the requests of a client: the load is to find what goes wrong, not to wear the machine out.
const pause = 4 * time.Millisecond

// patience of a client with one request.
const patience = harness.Patience

// traffic is the clients of a run. They stop at the first wrong answers.
type traffic struct {
	t     *testing.T
	host  *harness.Host
	line  *timeline
	roots *tls.Config

	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	idle   []func() // close the connections that clients keep
	asked  atomic.Int64
	wrong  atomic.Int64
}

// probe is one question to weir and what came of it.
type probe func() (outcome string, err error)

func (r *run) startTraffic() *traffic {
	c := r.newTraffic()
	fresh := &http.Client{Transport: &http.Transport{DialContext: r.host.Dial, DisableKeepAlives: true}, Timeout: patience}
	for _, client := range c.keeping() {
		c.ask(stableAddr, client, map[string]string{"/": "stable"})
		c.ask(mainAddr, client, map[string]string{"/": "main", "/flap": "flap", "/split": "split", "/morph": "morph", "/opt": "optional"})
	}
	c.ask(stableAddr, fresh, map[string]string{"/": "stable"})
	c.ask(mainAddr, fresh, map[string]string{"/": "main", "/flap": "flap", "/morph": "morph"})
	for target, addr := range map[string]string{"left": leftAddr, "right": rightAddr, "come": comeAddr, "options": optionsAddr, "keep": keepAddr} {
		c.ask(addr, fresh, map[string]string{"/": target})
	}
	c.loop(c.tlsRound)
	c.loop(func() { c.check("tcp", c.echoOnce) })
	c.loop(c.echoForever)
	return c
}

// newTraffic has no client yet.
func (r *run) newTraffic() *traffic {
	c := &traffic{t: r.t, host: r.host, line: r.line, roots: &tls.Config{RootCAs: r.backends.ca.Pool, MinVersion: tls.VersionTLS12}}
	c.ctx, c.cancel = context.WithCancel(r.t.Context())
	return c
}

// keeping gives a client of HTTP/1 and one of HTTP/2 that keep their connections.
func (c *traffic) keeping() []*http.Client {
	both := []*http.Client{c.host.Client(), c.host.HTTP2Client()}
	for _, client := range both {
		client.Timeout = patience
		c.idle = append(c.idle, client.CloseIdleConnections)
	}
	return both
}

// stop ends the clients.
func (c *traffic) stop() {
	c.cancel()
	c.all.Wait()
	for _, end := range c.idle {
		end()
	}
}

// loop runs a client's round again and again.
func (c *traffic) loop(round func()) {
	c.all.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for c.wrong.Load() < 20 {
			select {
			case <-c.ctx.Done():
				return
			case <-tick.C:
				round()
			}
		}
	})
}

// check holds one answer against what was allowed.
func (c *traffic) check(target string, ask probe) {
	sent := time.Now()
	got, err := ask()
	ended := time.Now()
	if c.ctx.Err() != nil {
		return // the end of the run cut it off
	}
	c.asked.Add(1)
	if allowed := c.line.allowed(target, sent, ended); !allowed[got] {
		c.wrong.Add(1)
		c.t.Errorf("%s %s: got %s, allowed %s, within %s: %v", ended.Format("05.000"), target, got, allowed, ended.Sub(sent).Round(time.Millisecond), err)
	}
}

// ask asks the paths of an address in turn, each of which is a target.
func (c *traffic) ask(addr string, client *http.Client, targets map[string]string) {
	c.loop(func() {
		for path, target := range targets {
			c.check(target, func() (string, error) { return c.get(client, "http://"+addr+path) })
		}
	})
}

func (c *traffic) get(client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return failure(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return failure(err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprint(resp.StatusCode), errors.New(string(body))
	case strings.TrimSpace(string(body)) != resp.Header.Get("X-Backend"):
		return "mixed", fmt.Errorf("header %q, body %q", resp.Header.Get("X-Backend"), body)
	}
	return resp.Header.Get("X-Backend"), nil
}

// failure tells an address without a listener from a connection that ended.
func failure(err error) (string, error) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused, err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return closed, err
	}
	return "error", err
}

// tlsRound makes new TLS connections to both names, and looks at the certificate of one.
func (c *traffic) tlsRound() {
	sent := time.Now()
	serial := ""
	c.check("main", func() (got string, err error) {
		got, serial, err = c.getTLS("shop.test")
		return got, err
	})
	if serial != "" && c.ctx.Err() == nil {
		c.learned("certificate", sent, serial)
	}
	c.check("extra", func() (got string, err error) {
		got, _, err = c.getTLS("extra.test")
		return got, err
	})
}

// learned is check for what was learned on the way.
func (c *traffic) learned(target string, sent time.Time, got string) {
	if allowed := c.line.allowed(target, sent, time.Now()); !allowed[got] {
		c.wrong.Add(1)
		c.t.Errorf("%s: got %s, allowed %s", target, got, allowed)
	}
}

func (c *traffic) getTLS(name string) (got, serial string, err error) {
	cfg := c.roots.Clone()
	cfg.ServerName = name
	transport := &http.Transport{DialContext: c.host.Dial, TLSClientConfig: cfg, DisableKeepAlives: true}
	var seen atomic.Value // a handshake that was given up may still go on
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		seen.Store(s.PeerCertificates[0].SerialNumber.String())
		return nil
	}
	got, err = c.get(&http.Client{Transport: transport, Timeout: patience}, "https://"+tlsAddr+"/")
	serial, _ = seen.Load().(string)
	return got, serial, err
}

// greeting is what echo backends say first.
func greeting(n int) string { return fmt.Sprintf("echo%d\n", n) }

func (c *traffic) dialEcho(addr string) (net.Conn, *bufio.Reader, string, error) {
	conn, err := c.host.Dial(c.ctx, "tcp", addr)
	if err != nil {
		return nil, nil, "", err
	}
	_ = conn.SetDeadline(time.Now().Add(patience)) // fails on a closed connection only
	in := bufio.NewReader(conn)
	name, err := in.ReadString('\n')
	if err != nil {
		conn.Close()
		return nil, nil, "", err
	}
	return conn, in, strings.TrimSpace(name), nil
}

func said(conn net.Conn, in *bufio.Reader) error {
	if _, err := io.WriteString(conn, "over and out\n"); err != nil {
		return err
	}
	_, err := in.ReadString('\n')
	return err
}

// echoOnce is a short session with a TCP backend.
func (c *traffic) echoOnce() (string, error) {
	conn, in, name, err := c.dialEcho(tcpAddr)
	if err != nil {
		return failure(err)
	}
	defer conn.Close()
	if err := said(conn, in); err != nil {
		return "cut", err
	}
	return name, nil
}

// echoForever is a session that lasts as long as the run: nothing that changes touches it.
func (c *traffic) echoForever() {
	conn, in, name, err := c.dialEcho(longAddr)
	if err != nil {
		c.check("long", func() (string, error) { return failure(err) })
		return
	}
	defer conn.Close()
	tick := time.NewTicker(10 * pause)
	defer tick.Stop()
	for c.ctx.Err() == nil && c.wrong.Load() < 20 {
		c.check("long", func() (string, error) {
			_ = conn.SetDeadline(time.Now().Add(patience)) // fails on a closed connection only
			if err := said(conn, in); err != nil {
				return "cut", err
			}
			return name, nil
		})
		<-tick.C
	}
}
