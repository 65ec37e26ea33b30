package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"text/template"
	"time"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // the resources hold messages of the API
	"github.com/weir-proxy/weir/pkg/controlplane"
)

//go:embed config/*.yaml
var configs embed.FS

// write fills in one of the embedded configurations.
func write(path, name string, values any) error {
	t, err := template.ParseFS(configs, "config/"+name)
	if err != nil {
		return fmt.Errorf("read configuration %s: %w", name, err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return fmt.Errorf("fill in configuration %s: %w", name, err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// weight is a version's share of the requests, in percent: of ordinary ones and of those for the catalogue.
type weight struct {
	Cluster          string
	Stock, Catalogue int
}

// plane is the control plane: what is in its directory is served over xDS.
type plane struct {
	server  *controlplane.Server
	dir     string
	addr    *net.TCPAddr
	events  chan controlplane.Event
	end     context.CancelFunc
	serving sync.WaitGroup
}

// newPlane starts a control plane that has nothing to serve yet.
func newPlane(ctx context.Context, dir string) (*plane, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	p := &plane{dir: dir, events: make(chan controlplane.Event, 1024)}
	p.addr, _ = l.Addr().(*net.TCPAddr)
	p.server = controlplane.New(controlplane.Options{Log: slog.New(slog.DiscardHandler), OnEvent: p.note})
	ctx, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.serving.Go(func() { _ = p.server.Serve(ctx, l) }) // ends with close; earlier, weir's log tells
	return p, nil
}

func (p *plane) close() error {
	p.end()
	p.serving.Wait()
	return nil
}

// note remembers an event; there are a few dozen, and what is more than fits is of no use.
func (p *plane) note(e controlplane.Event) {
	select {
	case p.events <- e:
	default:
	}
}

// route serves other weights, and the rest of the directory as it is.
func (p *plane) route(weights []weight) error {
	if err := write(filepath.Join(p.dir, "routes.yaml"), "routes.yaml", map[string]any{"Weights": weights}); err != nil {
		return err
	}
	return p.server.LoadDir(p.dir)
}

// version is that of the resources of a type, as they are served.
func (p *plane) version(kind string) string {
	for _, s := range p.server.Summary() {
		if s.Type == kind {
			return s.Version
		}
	}
	return ""
}

// accepted waits until the client took the resources of a type as they are served, and returns their version. It is an
// error when the client rejects anything.
func (p *plane) accepted(ctx context.Context, kind string) (string, error) {
	version := p.version(kind)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case e := <-p.events:
			switch {
			case e.Kind == controlplane.Rejected:
				return "", fmt.Errorf("weir rejected %s %v: %s", e.Type, e.Names, e.Err)
			case e.Kind == controlplane.Acknowledged && e.Type == kind && e.Version == version:
				return version, nil
			}
		case <-deadline.C:
			return "", errors.New("weir did not acknowledge the resources of type " + kind)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
