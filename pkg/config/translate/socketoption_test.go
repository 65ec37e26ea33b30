package translate

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestSocketOptions(t *testing.T) {
	value := func(n int64) *corev3.SocketOption_IntValue { return &corev3.SocketOption_IntValue{IntValue: n} }
	c := &call{}
	got := c.socketOptions([]*corev3.SocketOption{
		{Level: 6, Name: 4, Value: value(-1)},
		{Level: 1, Name: 9, Value: &corev3.SocketOption_BufValue{}, State: corev3.SocketOption_STATE_LISTENING, IpVersion: corev3.SocketOption_SOCKET_IP_VERSION_IPV6},
		{Level: 1, Name: 9, Value: value(1), Type: &corev3.SocketOption_SocketType{Datagram: &corev3.SocketOption_SocketType_Datagram{}}},
	}, (*path)(nil).field("admin"), false)
	want := []model.SocketOption{{Level: 6, Name: 4, Int: -1}, {Level: 1, Name: 9, Bytes: []byte{}, Late: true, IPv6Only: true}}
	if diff := cmp.Diff(want, got); diff != "" || len(c.errs) > 0 {
		t.Errorf("%s %v", diff, c.errs)
	}
	for want, m := range map[string]*corev3.SocketOption{
		"admin.socket_options[0].level: -1 is no level":                 {Level: -1, Name: 4, Value: value(1)},
		"admin.socket_options[0].name: 4294967296 is no socket option":  {Name: 1 << 32, Value: value(1)},
		"admin.socket_options[0].int_value: 2147483648 does not fit":    {Name: 4, Value: value(1 << 31)},
		"admin.socket_options[0]: there is neither int_value nor buf_v": {Name: 4},
	} {
		c := &call{}
		c.socketOptions([]*corev3.SocketOption{m}, (*path)(nil).field("admin"), false)
		if len(c.errs) != 1 || !strings.Contains(c.errs[0].Error(), want) {
			t.Errorf("%v, want %q", c.errs, want)
		}
	}
}
