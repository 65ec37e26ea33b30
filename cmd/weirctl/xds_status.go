package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/pkg/controlplane/page"
)

// statusServer serves the status page.
type statusServer struct {
	listener net.Listener
	server   *http.Server
}

// statusServer listens for the readers of the status page; nil when it is not asked for.
func (a xdsArguments) statusServer(ctx context.Context, s *controlplane.Server, at []net.Listener) (*statusServer, error) {
	if a.status == "" {
		return nil, nil
	}
	var addrs []string
	for _, l := range at {
		addrs = append(addrs, l.Addr().String())
	}
	h, err := page.Handler(s, page.Options{
		Version: version.Build(), Listen: strings.Join(addrs, ", "), GroupBy: a.groupBy.String(), Started: time.Now(),
	})
	if err != nil {
		return nil, err
	}
	l, err := listenXDS(ctx, a.status)
	if err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	return &statusServer{l, &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}}, nil
}

// serve serves until ctx ends.
func (s *statusServer) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.server.Close() })
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the status page: %w", err)
	}
	return nil
}
