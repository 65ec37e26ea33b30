package translate

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestEvents(t *testing.T) {
	type message = interceptionv1.Events
	for _, tt := range []struct {
		name string
		in   *message
		want *model.Events
		errs []string
	}{
		{name: "none"},
		{name: "all", in: &message{}, want: &model.Events{Sample: 1}},
		{
			name: "some",
			in: &message{
				Sample: wrapperspb.Double(0.25), Verdicts: []string{"refuse"}, Reasons: []string{"policy_denied"}, Cgroups: []string{"**/docker-*.scope"},
				Destinations: []string{"10.1.2.3/8", "fd00::1"}, Keep: 5, Directions: []string{"inbound"}, Protocols: []string{"tcp", "udp"},
			},
			want: &model.Events{
				Sample: 0.25, Verdicts: []string{"refuse"}, Reasons: []string{"policy_denied"}, Cgroups: []string{"**/docker-*.scope"},
				Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}, Keep: 5,
				Directions: []string{"inbound"}, Protocols: []string{"tcp", "udp"},
			},
		},
		{
			name: "wrong",
			in: &message{
				Sample: wrapperspb.Double(0), Verdicts: []string{"drop"}, Reasons: []string{"because"}, Cgroups: []string{"["}, Destinations: []string{"here"}, Keep: 100_001,
				Directions: []string{"in"}, Protocols: []string{"sctp"},
			},
			errs: []string{
				"events.sample: 0 is not above 0", `events.verdicts[0]: "drop" is none of pass, redirect`, `events.reasons[0]: "because" is none of not_tcp`,
				`events.cgroups[0]: "["`, `events.destinations[0]: "here"`, "events.keep: 100001 is more than 100000",
				`events.directions[0]: "in" is none of outbound, inbound`, `events.protocols[0]: "sctp" is none of tcp, udp, other`,
			},
		},
		{
			name: "datagrams that come in", in: &message{Directions: []string{"inbound"}, Protocols: []string{"udp", "other"}},
			errs: []string{"events.protocols: tcp alone is told of what comes in"},
		},
		{name: "other", in: &message{Protocols: []string{"other"}}, errs: []string{"events.protocols: other is told of for the reason not_tcp alone"}},
		{
			name: "other, which is asked for", in: &message{Protocols: []string{"other"}, Reasons: []string{"not_tcp"}},
			want: &model.Events{Sample: 1, Protocols: []string{"other"}, Reasons: []string{"not_tcp"}},
		},
		{name: "too much", in: &message{Sample: wrapperspb.Double(1.5)}, errs: []string{"events.sample: 1.5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeEvents(tt.in)
			for _, want := range tt.errs {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
			if len(tt.errs) > 0 {
				return
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
				t.Errorf("(-want +got, %v):\n%s", err, diff)
			}
		})
	}
}
