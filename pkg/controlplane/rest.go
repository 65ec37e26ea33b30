package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxRequest bounds a request over HTTP: names and a node.
const maxRequest = 16 << 20

// poll answers a request once. The error has gRPC's code Unavailable before the first set, and is a types.SkipFetchError
// when the client has the version already.
func (s *Server) poll(ctx context.Context, r *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	a, err := s.fleet.fetch(r)
	skipped := errors.As(err, new(*types.SkipFetchError))
	if err == nil || skipped {
		s.clients.polled(peerOf(ctx), request{url: r.GetTypeUrl(), node: r.GetNode(), detail: r.GetErrorDetail(), names: r.GetResourceNames()}, r.GetVersionInfo(), a)
	}
	switch {
	case errors.Is(err, errNothingYet):
		return nil, status.Error(codes.Unavailable, err.Error())
	case err != nil:
		return nil, err
	}
	return a.GetDiscoveryResponse()
}

// fetchOnce is poll for gRPC, where a client that has the version already is told so by an answer without resources.
func (s *Server) fetchOnce(ctx context.Context, r *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	a, err := s.poll(ctx, r)
	if errors.As(err, new(*types.SkipFetchError)) {
		return nil, status.Error(codes.AlreadyExists, "the client has this version")
	}
	return a, err
}

// handler answers polls: POST of a DiscoveryRequest as JSON to /v3/discovery:clusters and so on. It answers 304 when the
// client has the version already and 503 before the first set.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, k := range allKinds {
		if k.path == "" {
			continue
		}
		mux.HandleFunc("POST "+k.path, func(w http.ResponseWriter, r *http.Request) {
			q := new(discoveryv3.DiscoveryRequest)
			if !readJSON(w, r, q) {
				return
			}
			q.TypeUrl = k.url
			answer, err := s.poll(withPeer(r), q)
			switch {
			case errors.As(err, new(*types.SkipFetchError)):
				w.WriteHeader(http.StatusNotModified)
			case err != nil:
				http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
			default:
				writeJSON(w, answer)
			}
		})
	}
	mux.HandleFunc("POST "+clientStatusPath, func(w http.ResponseWriter, r *http.Request) {
		q := new(statusv3.ClientStatusRequest)
		if !readJSON(w, r, q) {
			return
		}
		answer, err := (clientStatus{server: s}).FetchClientStatus(r.Context(), q)
		if err != nil {
			http.Error(w, status.Convert(err).Message(), http.StatusBadRequest)
			return
		}
		writeJSON(w, answer)
	})
	return mux
}

// readJSON reads a message from the body of a request, and answers the request when that is not possible.
func readJSON(w http.ResponseWriter, r *http.Request, into proto.Message) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, into)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("read the body as the JSON of %s: %v", proto.MessageName(into), err), http.StatusBadRequest)
		return false
	}
	return true
}

// writeJSON answers with a message.
func writeJSON(w http.ResponseWriter, m proto.Message) {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		http.Error(w, fmt.Sprintf("write %s as JSON: %v", proto.MessageName(m), err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client went away
}
