package e2e

import (
	"maps"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestInboundPolicy puts the same connections to rbac filters in the kernel and in user space: they reach the application, or not, and
// are counted alike.
func TestInboundPolicy(t *testing.T) {
	t.Parallel()
	policies := `"some": {permissions: [{destination_port: 8081}], principals: [{direct_remote_ip: {address_prefix: ` + farAddr + `, prefix_len: 32}}]}`
	chain := harness.Chain(networkRBAC("guard.", "rules: {action: DENY, policies: {"+policies+"}}",
		`shadow_rules: {action: ALLOW, policies: {"all": `+policyOf("{destination_port: 8080}")+"}}") + ", " + harness.TCP("inbound"))
	listener := harness.Listener{
		Name: "in", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND", Chains: []string{chain},
	}.YAML()
	names := []string{"guard.rbac.allowed", "guard.rbac.denied", "guard.rbac.shadow_allowed", "guard.rbac.shadow_denied"}
	counts := map[string]map[string]int{}
	for mode, refused := range map[string]int{"AUTO": 2, "OFF": 0} {
		h := newHouse(t, `inbound: {}, offload: {mode: "`+mode+`"}`, listener)
		h.serve(true, "0.0.0.0", "8080")
		h.serve(true, "0.0.0.0", "8081")
		for range 2 {
			h.want(h.far, nearAddr+":8080", "app "+nearAddr, "")
			h.want(h.near, nearAddr+":8081", "app "+nearAddr, "")
			if body, _, err := answer(t, h.far, nearAddr+":8081"); err == nil {
				t.Errorf("offload %s: what is denied is answered %q", mode, body)
			}
		}
		h.weir.AwaitStat("guard.rbac.denied", func(n int) bool { return n == 2 })
		counts[mode] = map[string]int{}
		for _, name := range names {
			counts[mode][name] = h.weir.Stat(name)
		}
		h.weir.AwaitStat("weir.inbound.policy_denied", func(n int) bool { return n == refused })
	}
	if !maps.Equal(counts["AUTO"], counts["OFF"]) {
		t.Errorf("in the kernel %v, in user space %v", counts["AUTO"], counts["OFF"])
	}
}
