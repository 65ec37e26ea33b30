package pool

import "github.com/weir-proxy/weir/pkg/proxy/streaminfo"

// settler is a pool of one of both kinds.
type settler interface {
	// retire closes what is idle and has nothing kept from now on.
	retire()
}

// namespaces finds the pools whose connections are in network namespaces other than weir's. Runtime.mu guards it.
type namespaces map[*streaminfo.Namespace]map[settler]struct{}

// settle notes a new pool whose connections are in a namespace. It tells whether the namespace was given up: then the pool is to
// keep nothing.
func (r *Runtime) settle(p settler, in *streaminfo.Namespace) (givenUp bool) {
	if in == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if in.GivenUp() {
		return true
	}
	if r.within[in] == nil {
		r.within[in] = make(map[settler]struct{})
	}
	r.within[in][p] = struct{}{}
	return false
}

// unsettle forgets a pool.
func (r *Runtime) unsettle(p settler, in *streaminfo.Namespace) {
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
