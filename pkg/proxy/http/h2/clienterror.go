package h2

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// failure makes the error of an exchange as its owner sees it.
func (st *clientStream) failure(err error) error {
	if p := st.awoken.Load(); p != nil {
		return *p
	}
	st.c.mu.Lock()
	before, sent := !st.gotSome, st.id != 0
	st.c.mu.Unlock()
	kind := kindOf(err, sent)
	return &upstream.Error{
		Kind: kind, BeforeResponse: before, Reused: st.used && before && kind == upstream.KindTermination,
		Err: fmt.Errorf("HTTP/2 exchange: %w", err),
	}
}

// kindOf classifies an error; sent tells that the request was begun on the wire.
func kindOf(err error, sent bool) upstream.Kind {
	if r, ok := errors.AsType[*resetError](err); ok {
		if r.code == codeRefusedStream {
			return upstream.KindRefusedStream
		}
		return upstream.KindRemoteReset
	}
	if _, ok := errors.AsType[*bodyError](err); ok || errors.Is(err, errBadField) {
		return upstream.KindAborted
	}
	if _, ok := errors.AsType[*streamError](err); ok {
		return upstream.KindProtocol
	}
	if away, ok := errors.AsType[*goAwayError](err); !sent || ok && away.code == codeNo {
		return upstream.KindRefusedStream
	}
	if _, ok := errors.AsType[*connError](err); ok {
		return upstream.KindProtocol
	}
	return upstream.KindTermination
}
