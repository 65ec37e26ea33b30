package admin

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// clientStatusPath is that of the API's own HTTP mapping.
const clientStatusPath = "/v3/discovery:client_status"

// clientStatus answers /v3/discovery:client_status, the REST mapping of the client status discovery service
// (envoy.service.status.v3.ClientStatusDiscoveryService.FetchClientStatus), for this process alone.
func (s *Server) clientStatus(p *reply, r *request) error {
	asked := &statusv3.ClientStatusRequest{}
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		_, err = protoyaml.Decode(body, "request.json", asked, protoyaml.Options{AllowUnknown: true})
	}
	if err != nil {
		p.text(http.StatusBadRequest, fmt.Sprintf("read request: %v\n", err))
		return nil
	}
	if len(asked.GetNodeMatchers()) > 0 {
		// A process knows itself; matching is for servers that know many.
		p.text(http.StatusBadRequest, errNodeMatchers.Error()+"\n")
		return nil
	}
	var status iter.Seq[*statusv3.ClientConfig_GenericXdsConfig] = func(func(*statusv3.ClientConfig_GenericXdsConfig) bool) {}
	if s.opt.ClientStatus != nil {
		status = s.opt.ClientStatus.ClientStatus()
	}
	node, err := printable(&statusv3.ClientConfig{Node: s.opt.Server.Node()})
	if err != nil {
		return err
	}
	return p.stream(func(j *jsonStream) {
		j.open("config", "[")
		j.open("", "{")
		j.fields(node)
		j.list("generic_xds_configs", func(yield func(proto.Message) bool) {
			for c := range status {
				if asked.GetExcludeResourceContents() {
					c.XdsConfig = nil
				}
				if !yield(redacted(c)) {
					return
				}
			}
		})
		j.end("}")
		j.end("]")
	})
}

// errNodeMatchers is the answer of every xDS client to a request that selects clients.
var errNodeMatchers = errors.New("node_matchers are not supported: there is only this node")
