package hcm

import (
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
)

// scopes chooses the route table of a request by its scope.
type scopes struct {
	m   *Manager
	cfg *model.ScopedRoutes
	// source is the ID of the source of SRDS.
	source string
	// inline are the configured scopes by key; nil when SRDS delivers them.
	inline map[string]*model.Scope

	// tables holds a *scopeTable for each *model.RouteConfig that was asked for.
	tables sync.Map
	mu     sync.Mutex // serialises compiling
	held   int        // number of tables; guarded by mu
	limit  int        // of tables before those that are out of date are dropped; guarded by mu
}

// scopeTable is the table of a route configuration.
type scopeTable struct {
	table *router.Table // nil when it does not compile
	// key is that of a scope that led to it.
	key string
}

// firstSweep is how many tables are kept before it is worth looking for those that are out of date.
const firstSweep = 64

func (m *Manager) newScopes(cfg *model.ScopedRoutes) *scopes {
	s := &scopes{m: m, cfg: cfg, limit: firstSweep}
	if cfg.Source == nil {
		s.inline = make(map[string]*model.Scope, len(cfg.Scopes))
		for _, one := range cfg.Scopes {
			s.inline[one.Key] = one
		}
	} else {
		s.source = cfg.Source.ID()
	}
	return s
}

// find is the scope of a key; nil when there is none.
func (s *scopes) find(key string) *model.Scope {
	if s.inline != nil {
		return s.inline[key]
	}
	if s.m.deps.Scope == nil {
		return nil
	}
	return s.m.deps.Scope(s.source, key)
}

// config is the route configuration of a scope; nil while it is not there.
func (s *scopes) config(scope *model.Scope) *model.RouteConfig {
	switch {
	case scope == nil:
		return nil
	case scope.InlineRoutes != nil:
		return scope.InlineRoutes
	case s.m.deps.Routes == nil:
		return nil
	}
	return s.m.deps.Routes(scope.RouteConfigName)
}

// table is that of the request's scope; nil when it has none, or none whose routes are there.
func (s *scopes) table(r *message.Request, arena *filter.Arena) *router.Table {
	key, ok := RequestScope(s.cfg.Key, r, arena)
	if !ok {
		return nil
	}
	cfg := s.config(s.find(key))
	if cfg == nil {
		return nil
	}
	if t, ok := s.tables.Load(cfg); ok {
		return t.(*scopeTable).table
	}
	return s.compile(cfg, key)
}

func (s *scopes) compile(cfg *model.RouteConfig, key string) *router.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tables.Load(cfg); ok {
		return t.(*scopeTable).table
	}
	t, err := router.Compile(cfg, s.m.tableOptions(cfg))
	if err != nil {
		s.m.deps.Log.Error("route configuration cannot be used", "error", err)
		t = nil
	}
	s.tables.Store(cfg, &scopeTable{t, strings.Clone(key)}) // the key lives in the stream's arena
	if s.held++; s.held >= s.limit {
		s.sweep()
	}
	return t
}

// sweep drops the tables that no scope leads to any more. It looks at all of them, and so runs once for as many that were
// made. Called with mu held.
func (s *scopes) sweep() {
	s.tables.Range(func(cfg, t any) bool {
		if old := t.(*scopeTable); s.config(s.find(old.key)) != cfg {
			s.tables.Delete(cfg)
			s.held--
			if old.table != nil {
				old.table.Close()
			}
		}
		return true
	})
	s.limit = max(firstSweep, 2*s.held)
}

func (s *scopes) close() {
	s.tables.Range(func(_, t any) bool {
		if old := t.(*scopeTable).table; old != nil {
			old.Close()
		}
		return true
	})
}

// RequestScope builds the key of a request's scope, in the form of model.ScopeKey. It is false when the request lacks a
// fragment: then it has no scope. The key lives as long as arena and the request.
func RequestScope(fragments []model.ScopeFragment, r *message.Request, arena *filter.Arena) (key string, ok bool) {
	if len(fragments) == 1 {
		return fragment(&fragments[0], r)
	}
	b := arena.Begin()
	for i := range fragments {
		text, ok := fragment(&fragments[i], r)
		if !ok {
			return "", false
		}
		if i > 0 {
			b = append(b, model.ScopeSeparator...)
		}
		b = append(b, text...)
	}
	return arena.End(b), true
}

// fragment takes a fragment out of the first line of its header.
func fragment(f *model.ScopeFragment, r *message.Request) (string, bool) {
	value, ok := r.Lookup(f.Header)
	if !ok {
		return "", false
	}
	for i := 0; ; i++ {
		element, rest, more := value, "", false
		if f.ElementSeparator != "" {
			element, rest, more = strings.Cut(value, f.ElementSeparator)
		}
		if f.ByKey {
			if name, text, _ := strings.Cut(element, f.KeySeparator); name == f.ElementKey {
				return text, true
			}
		} else if i == f.Index {
			return element, true
		}
		if !more {
			return "", false
		}
		value = rest
	}
}
