package admin

import (
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
)

// initDump answers /init_dump. As in Envoy a mask that names nothing known gives an empty dump.
func (s *Server) initDump(p *reply, r *request) error {
	all := &adminv3.UnreadyTargetsDumps{}
	mask := r.query["mask"]
	if s.opt.InitDump != nil && (mask == "" || mask == "listener") {
		all = s.opt.InitDump.InitDump()
	}
	if mask == "listener" {
		all = onlyListeners(all)
	}
	return p.message(all, false)
}

// onlyListeners keeps the entries that are for listeners.
func onlyListeners(all *adminv3.UnreadyTargetsDumps) *adminv3.UnreadyTargetsDumps {
	out := &adminv3.UnreadyTargetsDumps{}
	for _, d := range all.GetUnreadyTargetsDumps() {
		if strings.Contains(strings.ToLower(d.GetName()), "listener") {
			out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, d)
		}
	}
	return out
}
