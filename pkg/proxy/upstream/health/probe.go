package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// prober does single checks, one at a time.
type prober interface {
	// check tells how the host is; it ends with ctx.
	check(ctx context.Context) outcome
	// name is HTTP, TCP or GRPC.
	name() string
	close()
}

func newProber(o *Options) prober {
	switch {
	case o.Check.HTTP != nil:
		return newHTTP(o)
	case o.Check.GRPC != nil:
		return &grpcProbe{spec: o.Check.GRPC, target: o.Target, reuse: o.Check.ReuseConnection, create: o.GRPC}
	}
	return &tcpProbe{spec: o.Check.TCP, target: o.Target, reuse: o.Check.ReuseConnection}
}

// tcpProbe connects, sends and looks for an answer.
type tcpProbe struct {
	spec   *model.TCPHealthCheck
	target Target
	reuse  bool
	conn   net.Conn // kept between checks
}

func (p *tcpProbe) name() string { return "TCP" }

func (p *tcpProbe) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

func (p *tcpProbe) check(ctx context.Context) outcome {
	kept := p.conn != nil
	err := p.exchange(ctx)
	if err != nil && kept && ctx.Err() == nil {
		// The host may have closed the connection since the last check.
		p.close()
		err = p.exchange(ctx)
	}
	if err != nil || !p.reuse || len(p.spec.Receive) == 0 {
		p.close()
	}
	if err != nil {
		return outcome{kind: network, reason: err.Error()}
	}
	return outcome{}
}

func (p *tcpProbe) exchange(ctx context.Context) error {
	if p.conn == nil {
		c, err := p.target.Dial(ctx, nil)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		p.conn = c
	}
	conn := p.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if len(p.spec.Send) > 0 {
		if _, err := p.conn.Write(p.spec.Send); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if len(p.spec.Receive) == 0 {
		return nil
	}
	// A host that sends without end is cut off by the timeout and by this bound.
	const most = 1 << 20
	var got []byte
	buf := make([]byte, 4096)
	for len(got) < most {
		n, err := p.conn.Read(buf)
		got = append(got, buf[:n]...)
		if found(got, p.spec.Receive) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: the expected answer did not come: %w", err)
		}
	}
	return fmt.Errorf("receive: the expected answer is not in the first %d bytes", most)
}

// found tells whether all of want are in got, in order and without overlap.
func found(got []byte, want [][]byte) bool {
	for _, w := range want {
		i := bytes.Index(got, w)
		if i < 0 {
			return false
		}
		got = got[i+len(w):]
	}
	return true
}

// GRPCClient asks a host of the gRPC health checking protocol.
type GRPCClient interface {
	// Check calls grpc.health.v1.Health/Check and tells whether the service is SERVING. reached is false when the error is not
	// the host's answer but a failure to get one.
	Check(ctx context.Context, service string, metadata []model.HealthCheckHeader) (serving, reached bool, err error)
	io.Closer
}

// NewGRPC makes a client that connects by dial.
type NewGRPC func(dial func(context.Context) (net.Conn, error), authority string) (GRPCClient, error)

// grpcProbe asks a gRPC server how a service is.
type grpcProbe struct {
	spec   *model.GRPCHealthCheck
	target Target
	reuse  bool
	create NewGRPC
	client GRPCClient // kept between checks
}

func (p *grpcProbe) name() string { return "GRPC" }

func (p *grpcProbe) close() {
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
}

func (p *grpcProbe) check(ctx context.Context) outcome {
	if p.client == nil {
		client, err := p.create(func(ctx context.Context) (net.Conn, error) { return p.target.Dial(ctx, []string{"h2"}) },
			authority(p.target, p.spec.Authority))
		if err != nil {
			return outcome{kind: network, reason: err.Error()}
		}
		p.client = client
	}
	serving, reached, err := p.client.Check(ctx, p.spec.Service, p.spec.Metadata)
	if !p.reuse || err != nil {
		p.close()
	}
	switch {
	case serving:
		return outcome{}
	case !reached:
		return outcome{kind: network, reason: err.Error()}
	case err != nil:
		return outcome{kind: active, reason: err.Error()}
	}
	return outcome{kind: active, reason: "the service is not SERVING"}
}

// authority is the name that a host is asked for: the endpoint's own, that of the check, or the cluster's.
func authority(t Target, configured string) string {
	for _, s := range []string{t.Hostname, configured, t.Cluster} {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return ""
}
