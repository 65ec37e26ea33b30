package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shop is everything that takes part in the story.
type shop struct {
	*report
	place
	backends []*backend
	plane    *plane
	weir     *daemon
	order    *order
	// all counts every request that was made through weir.
	all tally
	// followed counts requests that were shown one by one.
	followed int
}

// open starts what the story needs but weir. What was started is closed again on error.
func open(ctx context.Context, p place, r *report) (s *shop, err error) {
	s = &shop{report: r, place: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	for i, v := range versions() {
		b, err := newBackend(v, ca, int64(i)+2)
		if err != nil {
			return nil, err
		}
		s.backends = append(s.backends, b)
	}
	if s.order, err = newOrder(p); err != nil {
		return nil, err
	}
	if s.plane, err = newPlane(ctx, filepath.Join(p.dir, "xds")); err != nil {
		return nil, err
	}
	err = write(filepath.Join(s.plane.dir, "shop.yaml"), "shop.yaml", map[string]any{
		"IPv4": ipv4, "IPv6": ipv6, "CA": ca.pem, "Versions": versions(), "AccessLog": s.accessLog(),
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// close ends everything in reverse order.
func (s *shop) close() error {
	errs := []error{s.weir.stop()}
	if s.plane != nil {
		errs = append(errs, s.plane.close())
	}
	if s.order != nil {
		errs = append(errs, s.order.cgroup.Close())
	}
	for _, b := range s.backends {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

func (s *shop) accessLog() string { return filepath.Join(s.dir, "access.log") }

// share serves routes that send v2 its percentage of the ordinary requests, and all or none of the catalogues.
func (s *shop) share(v2, catalogues int) error {
	return s.plane.route([]weight{
		{s.backends[0].Cluster, 100 - v2, 100 - catalogues},
		{s.backends[1].Cluster, v2, catalogues},
	})
}

// record is an entry of weir's access log.
type record struct {
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Flags    string `json:"flags"`
	Target   string `json:"target"`
	Route    string `json:"route"`
	Cluster  string `json:"cluster"`
	Endpoint string `json:"endpoint"`
	TLS      string `json:"tls"`
}

// record waits for the entry of a path, which was asked for once.
func (s *shop) record(ctx context.Context, path string) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/3)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(s.accessLog())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return record{}, fmt.Errorf("read access log: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			var r record
			if !strings.HasSuffix(line, "\n") {
				break // it is being written
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				return record{}, fmt.Errorf("read access log: %w: %q", err, line)
			}
			if r.Path == path {
				return r, nil
			}
		}
		select {
		case <-ctx.Done():
			return record{}, fmt.Errorf("wait for the access log's entry of %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
