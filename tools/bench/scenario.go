package main

import (
	"context"
	"fmt"
	"time"
)

// scenario is one kind of work that the proxies are compared in.
type scenario struct {
	name  string
	title string
	shape shape
	// load puts one round of work on a proxy and returns its figure.
	load func(ctx context.Context, b *bench, p *proxy) (float64, error)
	// unit of the figure; more tells that larger is better.
	unit string
	more bool
	// peers leaves proxies out that cannot do the work; nil is all of them.
	peers []string
	// goal in words, as a ratio to a peer.
	goal string
	// profile is where weir's CPU profile is to be written; empty makes none.
	profile string
}

// shape is what the configurations of a scenario have in common.
type shape struct {
	tls       bool // terminate TLS 1.3 with an ECDSA P-256 certificate
	http2     bool // HTTP/2 from the client, without TLS by prior knowledge
	upHTTP2   bool // HTTP/2 to the backend
	hosts     int  // virtual hosts with routes each; 0: one host, one route
	routes    int
	accessLog bool
	backend   string // name of the backend
}

// scenarios are the figures that the project holds itself to.
func scenarios() []scenario {
	const perRequest = "us CPU/request"
	web := func(s shape) shape { s.backend = "web"; return s }
	return []scenario{
		{
			name: "http1", title: "HTTP/1.1 keep-alive, 1 KB responses, 64 connections", unit: perRequest,
			shape: web(shape{}), load: wrkLoad("", "/"), goal: "<= 0.95 x the cheaper peer",
		},
		{
			name: "routes", title: "the same, 4 virtual hosts of 1,000 routes, file access log", unit: perRequest,
			shape: web(shape{hosts: 4, routes: 1000, accessLog: true}), load: wrkLoad("routes.lua", "/"), goal: "<= 1.0 x the cheaper peer",
		},
		{
			name: "h2-h1", title: "HTTP/2 to HTTP/1.1, 8 connections of 32 streams, 1 KB responses", unit: perRequest,
			shape: web(shape{http2: true}), load: h2Load("/"), goal: "<= 1.0 x haproxy",
		},
		{
			name: "grpc", title: "HTTP/2 both ways, gRPC unary of 100 bytes, 8 connections of 32 streams", unit: perRequest,
			shape: shape{http2: true, upHTTP2: true, backend: "grpc"}, load: h2Load("/bench.Echo/Call", "-d", "grpc.bin",
				"-H", "content-type: application/grpc", "-H", "te: trailers"),
			peers: []string{"weir", "haproxy"}, goal: "<= 1.0 x haproxy",
		},
		{
			name: "https", title: "HTTPS (TLS 1.3, ECDSA P-256) keep-alive, 1 KB responses, 64 connections", unit: perRequest,
			shape: web(shape{tls: true}), load: wrkLoad("", "/"), goal: "<= 1.0 x nginx",
		},
		{
			name: "handshakes", title: "full TLS 1.3 handshakes, one request each", unit: "handshakes/CPU-second", more: true,
			shape: web(shape{tls: true}), load: handshakeLoad, goal: ">= 1.05 x nginx",
		},
		{
			name: "bulk", title: "10 MB responses, 8 connections", unit: "MB/CPU-second", more: true,
			shape: web(shape{}), load: bulkLoad, goal: ">= 1.0 x nginx",
		},
		{
			name: "latency", title: "added p99 at half of nginx's load, 64 connections", unit: "us",
			shape: web(shape{}), load: latencyLoad, goal: "<= 1.1 x nginx",
		},
		{
			name: "idle", title: "resident memory of an idle keep-alive connection, 8,000 of them", unit: "KB/connection",
			shape: web(shape{}), load: idleLoad, goal: "<= 6 KB",
		},
	}
}

// takes tells whether a proxy takes part.
func (s *scenario) takes(name string) bool {
	for _, p := range s.peers {
		if p == name {
			return true
		}
	}
	return s.peers == nil
}

// url of a path at a proxy.
func (s *scenario) url(p *proxy, path string) string {
	scheme := "http"
	if s.shape.tls {
		scheme = "https"
	}
	return fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, p.port, path)
}

// perRequest is CPU time in microseconds.
func perRequest(cpu time.Duration, requests int) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(requests)
}
