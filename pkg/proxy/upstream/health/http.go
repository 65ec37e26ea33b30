package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// Headers of a check's answer, in the form of net/http.
const (
	degradedHeader = "X-Envoy-Degraded"
	serviceHeader  = "X-Envoy-Upstream-Healthchecked-Cluster"
	userAgent      = "Envoy/HC" // dashboards and access logs leave out what calls itself so
)

// httpProbe asks for a path.
type httpProbe struct {
	spec   *model.HTTPHealthCheck
	client http.RoundTripper
	idle   func()
	target Target
	reuse  bool
	// runtime says for which share of checks the name of the service matters.
	runtime *model.Runtime
}

func newHTTP(o *Options) *httpProbe {
	p := &httpProbe{spec: o.Check.HTTP, target: o.Target, reuse: o.Check.ReuseConnection, runtime: o.Runtime}
	dial := o.Target.Dial
	if p.spec.HTTP2 {
		t := &http2.Transport{AllowHTTP: true, DisableCompression: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
			return dial(ctx, []string{"h2"})
		}}
		p.client, p.idle = t, t.CloseIdleConnections
		return p
	}
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1, DisableKeepAlives: !p.reuse}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, []string{"http/1.1"}) }
	p.client, p.idle = t, t.CloseIdleConnections
	return p
}

func (p *httpProbe) name() string { return "HTTP" }

func (p *httpProbe) close() { p.idle() }

func (p *httpProbe) check(ctx context.Context) outcome {
	req, err := p.request(ctx)
	if err != nil {
		return outcome{kind: active, reason: err.Error()}
	}
	resp, err := p.client.RoundTrip(req)
	if err != nil {
		return outcome{kind: network, reason: err.Error()}
	}
	defer func() {
		_ = resp.Body.Close()
		if !p.reuse {
			p.idle()
		}
	}()
	body, err := p.body(resp)
	if err != nil {
		return outcome{kind: network, reason: err.Error()}
	}
	return p.judge(resp, body)
}

func (p *httpProbe) request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if len(p.spec.Send) > 0 {
		body = bytes.NewReader(p.spec.Send)
	}
	host := authority(p.target, p.spec.Host)
	u := &url.URL{Scheme: "http", Host: "host", Opaque: p.spec.Path}
	if p.spec.HTTP2 {
		u = &url.URL{Scheme: "http", Host: "host"}
		path, err := url.ParseRequestURI(p.spec.Path)
		if err != nil {
			return nil, fmt.Errorf("path of the check: %w", err)
		}
		u.Path, u.RawPath, u.RawQuery = path.Path, path.RawPath, path.RawQuery
		if p.target.Secure {
			u.Scheme = "https"
		}
	}
	req, err := http.NewRequestWithContext(ctx, p.spec.Method, "http://host/", body)
	if err != nil {
		return nil, fmt.Errorf("build check: %w", err)
	}
	req.URL, req.Host = u, host
	req.Header.Set("User-Agent", userAgent)
	for _, h := range p.spec.Add {
		switch {
		case http.CanonicalHeaderKey(h.Name) == "Host" || h.Name == ":authority":
			req.Host = h.Value
		case h.Append:
			req.Header.Add(h.Name, h.Value)
		default:
			req.Header.Set(h.Name, h.Value)
		}
	}
	for _, name := range p.spec.Remove {
		req.Header.Del(name)
		if http.CanonicalHeaderKey(name) == "User-Agent" {
			req.Header["User-Agent"] = nil // keeps net/http from sending its own
		}
	}
	return req, nil
}

// body reads what the answer is judged by, and the rest as far as it is small: an unread one costs the connection.
func (p *httpProbe) body(resp *http.Response) ([]byte, error) {
	const bound = 1 << 20
	limit := uint64(bound)
	if p.spec.BufferSize > 0 {
		limit = min(limit, p.spec.BufferSize)
	}
	if len(p.spec.Receive) == 0 {
		limit = 0
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, bound)); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return head, nil
}

func (p *httpProbe) judge(resp *http.Response, body []byte) outcome {
	status := resp.StatusCode
	switch {
	case within(p.spec.Expected, status):
	case within(p.spec.Retriable, status):
		return outcome{kind: retriable, reason: fmt.Sprintf("status %d", status)}
	default:
		return outcome{kind: active, reason: fmt.Sprintf("status %d", status)}
	}
	if !found(body, p.spec.Receive) {
		return outcome{kind: active, reason: "the answer lacks what the check expects"}
	}
	if m := p.spec.ServiceName; m != nil && p.runtime.Percent(model.RuntimeHealthVerify, 100, rand.Uint64()) && !match.String(m, resp.Header.Get(serviceHeader)) {
		return outcome{kind: wrongService, reason: fmt.Sprintf("service %q answered", resp.Header.Get(serviceHeader))}
	}
	return outcome{degraded: resp.Header.Get(degradedHeader) != ""}
}

func within(ranges []model.StatusRange, status int) bool {
	for _, r := range ranges {
		if status >= r.Start && status < r.End {
			return true
		}
	}
	return false
}
