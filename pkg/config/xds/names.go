package xds

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xdstp"
)

// names translate between the xdstp names that resources are referred to by and those that travel: in canonical form and
// with the node's context parameters. Other names stay as they are.
type names struct {
	authorities map[string]*model.Source
	context     map[string]string
	log         *slog.Logger

	mu sync.Mutex
	// given are the names as they were referred to, by type and canonical form, where the two differ.
	given map[[2]string]string
}

func newNames(opt SourcesOptions) *names {
	return &names{authorities: opt.Authorities, context: opt.NodeContext, log: opt.Log, given: map[[2]string]string{}}
}

// resolve returns the name that travels and where it leads to.
func (n *names) resolve(src *model.Source, typeURL, name string) (*model.Source, string) {
	if !xdstp.Is(name) {
		return src, name
	}
	parsed, err := xdstp.Parse(name)
	if err != nil {
		n.log.Warn("a resource has a bad name, which is asked for as it is", "type", typeURL, "error", err)
		return src, name
	}
	if at := n.authorities[parsed.Authority]; at != nil && !slices.Contains(src.Authorities, parsed.Authority) {
		src = at
	}
	canonical := parsed.With(n.context).String()
	if canonical != name {
		n.mu.Lock()
		n.given[[2]string{typeURL, canonical}] = name
		n.mu.Unlock()
	}
	return src, canonical
}

// forget drops what resolve noted.
func (n *names) forget(typeURL, canonical string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.given, [2]string{typeURL, canonical})
}

// handler gives h the names as they were referred to.
func (n *names) handler(h Handler) Handler { return &renaming{h, n} }

type renaming struct {
	Handler
	names *names
}

// Update implements Handler.
func (r *renaming) Update(ctx context.Context, u Update) error {
	r.names.restore(&u)
	return r.Handler.Update(ctx, u)
}

// Attempt implements Handler.
func (r *renaming) Attempt(a Asked) {
	r.names.restoreAsked(&a)
	r.Handler.Attempt(a)
}

// Failure implements Handler.
func (r *renaming) Failure(a Asked, err error) {
	r.names.restoreAsked(&a)
	r.Handler.Failure(a, err)
}

// restoreAsked changes the list in place: it was made to be told.
func (n *names) restoreAsked(a *Asked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.given) == 0 {
		return
	}
	for i := range a.Names {
		if name, ok := n.given[[2]string{a.Type, a.Names[i]}]; ok {
			a.Names[i] = name
		}
	}
}

// restore changes copies of the lists: those of the response tell the Mux which versions it holds.
func (n *names) restore(u *Update) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.given) == 0 {
		return
	}
	u.Resources, u.Removed = slices.Clone(u.Resources), slices.Clone(u.Removed)
	for i := range u.Resources {
		if name, ok := n.given[[2]string{u.Type, u.Resources[i].Name}]; ok {
			u.Resources[i].Name = name
		}
	}
	for i := range u.Removed {
		if name, ok := n.given[[2]string{u.Type, u.Removed[i]}]; ok {
			u.Removed[i] = name
		}
	}
}
