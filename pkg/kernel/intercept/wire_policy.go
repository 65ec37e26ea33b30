package intercept

import "github.com/weir-proxy/weir/pkg/kernel/wirepolicy"

// The structs of bpf/policy.h.
type (
	wirePolicyTest   = wirepolicy.Test
	wirePolicyEngine = wirepolicy.Engine
	wirePolicy       = wirepolicy.Policy
)

type wirePolicyQuery struct {
	Source      [16]byte
	Destination [16]byte
	Port        wirePort
	Reserved    uint16
}
