package pool

import "github.com/weir-proxy/weir/pkg/proxy/streaminfo"

// namespaces finds the pools whose connections are in network namespaces other than weir's. Runtime.mu guards it.
type namespaces map[*streaminfo.Namespace]map[*Pool]struct{}

// settle notes a new pool. One in a namespace that was given up keeps nothing.
func (r *Runtime) settle(p *Pool) {
	in := p.key.origin.Namespace
	if in == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.GivenUp() {
		p.retired = true
		return
	}
	if r.within[in] == nil {
		r.within[in] = make(map[*Pool]struct{})
	}
	r.within[in][p] = struct{}{}
}

// unsettle forgets a pool.
func (r *Runtime) unsettle(p *Pool) {
	in := p.key.origin.Namespace
	if in == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.within[in], p); len(r.within[in]) == 0 {
		delete(r.within, in)
	}
}

// Vacate gives a network namespace up: connections in it are closed, those in use after their last request, and none is kept
// there from now on.
func (r *Runtime) Vacate(in *streaminfo.Namespace) {
	r.mu.Lock()
	in.GiveUp()
	pools := r.within[in]
	delete(r.within, in)
	r.mu.Unlock()
	for p := range pools {
		p.retire()
	}
}
