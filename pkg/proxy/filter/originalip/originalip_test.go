package originalip

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func cidrs(list ...string) *xffv3.XffTrustedCidrs {
	out := &xffv3.XffTrustedCidrs{}
	for _, p := range list {
		addr, _, _ := strings.Cut(p, "/")
		out.Cidrs = append(out.Cidrs, &corev3.CidrRange{AddressPrefix: addr, PrefixLen: wrapperspb.UInt32(8)})
	}
	return out
}

// TestDetect decodes a configuration and asks it for the origin of a request.
func TestDetect(t *testing.T) {
	peer := netip.MustParseAddr("10.1.1.1")
	addr := netip.MustParseAddr
	for _, tc := range []struct {
		name   string
		config proto.Message
		header [2]string
		want   filter.Origin
	}{
		{"last address", &xffv3.XffConfig{}, [2]string{"x-forwarded-for", "1.1.1.1, 2.2.2.2"}, filter.Origin{Client: addr("2.2.2.2"), SkipAppend: true}},
		{"only address", &xffv3.XffConfig{}, [2]string{"X-Forwarded-For", "::ffff:1.1.1.1"}, filter.Origin{Client: addr("1.1.1.1"), Trusted: true, SkipAppend: true}},
		{"too few hops", &xffv3.XffConfig{XffNumTrustedHops: 2}, [2]string{"x-forwarded-for", "1.1.1.1,2.2.2.2"}, filter.Origin{SkipAppend: true}},
		{"no address", &xffv3.XffConfig{}, [2]string{"x-forwarded-for", "1.1.1.1,unknown"}, filter.Origin{SkipAppend: true}},
		{"appends", &xffv3.XffConfig{SkipXffAppend: wrapperspb.Bool(false)}, [2]string{"x", "y"}, filter.Origin{}},
		{"all trusted", &xffv3.XffConfig{XffTrustedCidrs: cidrs("10.0.0.0/8")}, [2]string{"x-forwarded-for", "10.9.9.9,10.8.8.8"}, filter.Origin{Client: addr("10.9.9.9"), SkipAppend: true}},
		{"first untrusted", &xffv3.XffConfig{XffTrustedCidrs: cidrs("10.0.0.0/8")}, [2]string{"x-forwarded-for", "1.1.1.1,2.2.2.2,10.8.8.8"}, filter.Origin{Client: addr("2.2.2.2"), SkipAppend: true}},
		{"untrusted peer", &xffv3.XffConfig{XffTrustedCidrs: cidrs("11.0.0.0/8")}, [2]string{"x-forwarded-for", "1.1.1.1"}, filter.Origin{}},
		{"custom", &customv3.CustomHeaderConfig{HeaderName: "X-Real", AllowExtensionToSetAddressAsTrusted: true}, [2]string{"x-real", "1.1.1.1"}, filter.Origin{Client: addr("1.1.1.1"), Trusted: true}},
		{"custom missing", &customv3.CustomHeaderConfig{HeaderName: "x-real"}, [2]string{"x", "y"}, filter.Origin{}},
		{"custom refuses", &customv3.CustomHeaderConfig{HeaderName: "x-real", RejectWithStatus: &typev3.HttpStatus{Code: 401}}, [2]string{"x", "y"}, filter.Origin{RejectStatus: 401}},
		{"custom refuses with what is no error", &customv3.CustomHeaderConfig{HeaderName: "x-real", RejectWithStatus: &typev3.HttpStatus{Code: 200}}, [2]string{"x", "y"}, filter.Origin{RejectStatus: 403}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := decoder(t, tc.config)(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			r := &message.Request{}
			r.Headers.Add(tc.header[0], tc.header[1])
			if got := v.(filter.OriginalIP).Detect(r, peer); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func decoder(t *testing.T, m proto.Message) func(proto.Message) (any, error) {
	t.Helper()
	for _, f := range Factories() {
		if f.Config.ProtoReflect().Descriptor() == m.ProtoReflect().Descriptor() {
			return f.Decode
		}
	}
	t.Fatalf("nobody decodes %T", m)
	return nil
}

func TestBadConfiguration(t *testing.T) {
	for _, tc := range []struct{ name, want string }{
		{"both", "xff_trusted_cidrs: cannot be set together with xff_num_trusted_hops"},
		{"address", "xff_trusted_cidrs.cidrs[1]: address_prefix: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &xffv3.XffConfig{XffTrustedCidrs: cidrs("10.0.0.0/8")}
			if tc.name == "both" {
				m.XffNumTrustedHops = 1
			} else {
				m.XffTrustedCidrs = cidrs("10.0.0.0/8", "nowhere/8")
			}
			if _, err := decoder(t, m)(m); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// FuzzForwarded checks that an address is found exactly where splitting the list finds one.
func FuzzForwarded(f *testing.F) {
	f.Add("1.1.1.1, 2.2.2.2", 1)
	f.Add(",::1,", 0)
	f.Fuzz(func(t *testing.T, xff string, skip int) {
		if skip < 0 || skip > 100 {
			return
		}
		got, single := Forwarded(xff, skip)
		list := strings.Split(xff, ",")
		want := netip.Addr{}
		if skip < len(list) {
			want = parse(list[len(list)-1-skip])
		}
		if got != want || single && len(list) != 1 {
			t.Errorf("%q, %d: %v %v, want %v", xff, skip, got, single, want)
		}
	})
}
