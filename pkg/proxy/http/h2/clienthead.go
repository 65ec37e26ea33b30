package h2

import (
	"net/http"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// writeHead implements headWriter: it opens the stream. The caller holds mu.
func (st *clientStream) writeHead(end bool) error {
	cc := st.cc
	if err := st.sendError(); err != nil {
		return err
	}
	if cc.goingAway {
		return cc.away
	}
	cc.keep.beforeStream(&cc.link)
	id := cc.lastID + 2
	if cc.lastID == 0 {
		id = 1
	}
	cc.lastID = id
	cc.flood.opened++
	st.enter(id)
	req := st.req
	at := cc.reserve()
	b := cc.enc.begin(cc.out)
	b, n := st.pseudoFields(b)
	show := int64(-1)
	switch {
	case st.tunnel:
	case req.Body == nil:
		if req.ContentLength == 0 && (req.Headers.Has(message.ContentLength) || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH") {
			show = 0
		}
	case req.ContentLength >= 0:
		show = req.ContentLength
	}
	b, m := cc.enc.appendFields(b, &req.Headers, show)
	cc.out = b
	cc.appendBlock(at, id, end)
	st.sentHead.Store(uint64(n + m))
	if cc.enc.bad {
		return errBadField
	}
	return nil
}

// pseudoFields appends the pseudo-header fields and returns the size of their values.
func (st *clientStream) pseudoFields(b []byte) ([]byte, int) {
	e, req := &st.cc.enc, st.req
	scheme, path, method := req.Scheme, req.Path, req.Method
	if scheme != "https" {
		scheme = "http"
	}
	if path == "" {
		path = "/"
	}
	if req.Protocol != "" {
		method = http.MethodConnect
	}
	n := len(method) + len(req.Authority)
	b = e.pseudo(b, pseudoAuthority, req.Authority)
	b = e.pseudo(b, pseudoMethod, method)
	if method == http.MethodConnect && req.Protocol == "" {
		return b, n
	}
	b = e.pseudo(b, pseudoPath, path)
	b = e.pseudo(b, pseudoScheme, scheme)
	if req.Protocol != "" {
		b = e.pseudo(b, pseudoProtocol, req.Protocol)
	}
	return b, n + len(path) + len(scheme)
}
