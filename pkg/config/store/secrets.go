package store

import (
	"fmt"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

func (b *batch) translateEndpoints(m *endpointv3.ClusterLoadAssignment, meta translate.Meta) (*model.LoadAssignment, uint64, []translate.Warning, error) {
	v, warnings, err := b.store.opt.Translate.LoadAssignment(m, meta)
	if err != nil {
		return nil, 0, nil, err
	}
	return v, v.Hash, warnings, nil
}

func (b *batch) translateRoutes(m *routev3.RouteConfiguration, meta translate.Meta) (*model.RouteConfig, uint64, []translate.Warning, error) {
	v, warnings, err := b.store.opt.Translate.RouteConfig(m, meta)
	if err != nil {
		return nil, 0, nil, err
	}
	return v, v.Hash, warnings, nil
}

func (b *batch) translateSecret(m *secretv3.Secret, meta translate.Meta) (*model.Secret, uint64, []translate.Warning, error) {
	v, warnings, err := b.store.opt.Translate.Secret(m, meta)
	if err != nil {
		return nil, 0, nil, err
	}
	if w := b.store.deps.wanted(xds.SecretType, v.Name); w != nil && w.secret != 0 && w.secret&v.Kind() == 0 {
		return nil, 0, nil, fmt.Errorf("it is a %s, where a %s is needed", v.Kind(), w.secret)
	}
	b.store.watchSecret(v)
	return v, v.Hash, warnings, nil
}

// watchSecret follows the files that a secret was read from, in place of those of its last form, so that a rotated file
// serves new handshakes.
func (s *Store) watchSecret(v *model.Secret) {
	s.unwatchSecret(v.Name)
	if s.opt.Watch == nil {
		return
	}
	for _, path := range v.Files {
		cancel, err := s.opt.Watch.Follow(path, "", func() { s.reloadSecret(v.Name) })
		if err != nil {
			s.opt.Log.Warn("cannot follow a secret's file; a change will not be noticed", "secret", v.Name, "error", err)
			continue
		}
		s.watches[v.Name] = append(s.watches[v.Name], cancel)
	}
}

func (s *Store) unwatchSecret(name string) {
	for _, cancel := range s.watches[name] {
		cancel()
	}
	delete(s.watches, name)
}

// reloadSecret reads a secret again from the same message, after one of its files changed.
func (s *Store) reloadSecret(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.secrets.latest(name)
	if e == nil {
		return
	}
	m := &secretv3.Secret{}
	if err := e.Raw.UnmarshalTo(m); err != nil {
		s.opt.Log.Error("decode secret for reload", "secret", name, "error", err)
		return
	}
	v, _, err := s.opt.Translate.Secret(m, translate.Meta{Version: e.Version, Dynamic: !e.Static, UpdatedAt: time.Now()})
	if err != nil {
		// Certificate and key are often written one after the other: the next change completes the pair.
		s.opt.Log.Warn("kept the old secret: its files do not fit together", "secret", name, "error", err)
		if w := s.deps.wants[key{xds.SecretType, name}]; w != nil && w.stats != nil {
			w.stats.keyRotationFailed.Inc()
		}
		return
	}
	next := *e
	next.Value, next.hash, next.Updated = v, v.Hash, time.Now()
	if s.secrets.put(s.deps, name, &next) {
		s.opt.Log.Info("reloaded a secret from its files", "secret", name)
		s.publish()
	}
}
