package demo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The catalogue is served slowly on purpose: catalogueSize bytes in catalogueTime.
const (
	catalogueSize   = 6 << 20
	catalogueTime   = 5 * time.Second
	catalogueChunks = 50
)

// version is one deployed version of the inventory service.
type version struct {
	// Cluster names it in the configuration; Name is that of its certificate.
	Cluster, Name string
	Addr          netip.AddrPort
}

func versions() []version {
	return []version{
		{"inventory-v1", "v1.inventory.internal", netip.MustParseAddrPort("127.0.1.1:8443")},
		{"inventory-v2", "v2.inventory.internal", netip.MustParseAddrPort("127.0.1.2:8443")},
	}
}

// backend serves a version over TLS, and counts.
type backend struct {
	version
	server    *http.Server
	serving   sync.WaitGroup
	catalogue []byte

	requests atomic.Int64
	// strangers are requests that came with another SNI than the version's name.
	strangers atomic.Int64
	// started gets a value when a catalogue is on its way.
	started chan struct{}
}

// newBackend starts a backend. Its catalogue is different from that of other versions.
func newBackend(v version, ca *authority, serial int64) (*backend, error) {
	cert, err := ca.issue(v.Name, serial)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", v.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", v.Cluster, err)
	}
	b := &backend{version: v, catalogue: make([]byte, catalogueSize), started: make(chan struct{}, 8)}
	_, _ = rand.NewChaCha8([32]byte{byte(serial)}).Read(b.catalogue) // never fails
	b.server = &http.Server{
		Handler:           b,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: patience,
		ErrorLog:          log.New(io.Discard, "", 0), // what goes wrong shows in the checks
	}
	b.serving.Go(func() { _ = b.server.ServeTLS(l, "", "") }) // ends with close
	return b, nil
}

func (b *backend) close() error {
	err := b.server.Close()
	b.serving.Wait()
	return err
}

// sum is the SHA-256 of the catalogue.
func (b *backend) sum() string {
	sum := sha256.Sum256(b.catalogue)
	return hex.EncodeToString(sum[:])
}

// ServeHTTP answers with one line that names the version, or with the catalogue.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.requests.Add(1)
	if r.TLS == nil || r.TLS.ServerName != b.Name {
		b.strangers.Add(1)
	}
	w.Header().Set("X-Served-By", b.Cluster)
	if r.URL.Path == "/catalogue" {
		_ = b.serveCatalogue(r.Context(), w) // the client went away: it tells
		return
	}
	fmt.Fprintf(w, "%s: 7 teapots in stock\n", b.Cluster)
}

func (b *backend) serveCatalogue(ctx context.Context, w http.ResponseWriter) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(b.catalogue)))
	tick := time.NewTicker(catalogueTime / catalogueChunks)
	defer tick.Stop()
	control := http.NewResponseController(w)
	const size = (catalogueSize + catalogueChunks - 1) / catalogueChunks
	for rest := b.catalogue; len(rest) > 0; {
		n, err := w.Write(rest[:min(size, len(rest))])
		if err := errors.Join(err, control.Flush()); err != nil {
			return err
		}
		if len(rest) == len(b.catalogue) {
			b.started <- struct{}{}
		}
		rest = rest[n:]
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
