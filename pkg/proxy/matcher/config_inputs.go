package matcher

import (
	"errors"
	"fmt"
	"os"
	"strings"

	envv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/environment_variable/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	hashingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/consistent_hashing/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	fractionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/runtime_fraction/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Factories describes the inputs and the matchers of values.
func Factories() []extension.Factory {
	return append(append(httpInputs(), networkInputs()...), valueMatchers()...)
}

// fields is the table of a message all of whose named fields take effect.
func fields(m proto.Message, effective ...string) map[string]extension.Fields {
	f := extension.Fields{}
	for _, name := range effective {
		f[name] = extension.Field{}
	}
	return map[string]extension.Fields{string(m.ProtoReflect().Descriptor().FullName()): f}
}

// inputFactory describes an input that is known to HTTP alone.
func inputFactory(name string, m proto.Message, make func(proto.Message) (Input, error), effective ...string) extension.Factory {
	return extension.Factory{
		Category: extension.MatchingHTTPInputs, Name: "envoy.matching.inputs." + name, Config: m, Support: fields(m, effective...),
		Decode: func(m proto.Message) (any, error) { return make(m) },
	}
}

func httpInputs() []extension.Factory {
	header := func(what string, of func(*Data) *message.Headers) func(proto.Message) (Input, error) {
		return func(m proto.Message) (Input, error) {
			name := m.(interface{ GetHeaderName() string }).GetHeaderName()
			if name == "" {
				return nil, errors.New("header_name: must not be empty")
			}
			return &messageHeader{what, strings.ToLower(name), of}, nil
		}
	}
	return []extension.Factory{
		inputFactory("request_headers", &matcherv3.HttpRequestHeaderMatchInput{}, func(m proto.Message) (Input, error) {
			name := strings.ToLower(m.(*matcherv3.HttpRequestHeaderMatchInput).GetHeaderName())
			if name == "" {
				return nil, errors.New("header_name: must not be empty")
			}
			return &requestHeader{name}, nil
		}, "header_name"),
		inputFactory("request_trailers", &matcherv3.HttpRequestTrailerMatchInput{}, header("request trailer", requestTrailers), "header_name"),
		inputFactory("response_headers", &matcherv3.HttpResponseHeaderMatchInput{}, header("response header", responseHeaders), "header_name"),
		inputFactory("response_trailers", &matcherv3.HttpResponseTrailerMatchInput{}, header("response trailer", responseTrailers), "header_name"),
		inputFactory("query_params", &matcherv3.HttpRequestQueryParamMatchInput{}, func(m proto.Message) (Input, error) {
			name := m.(*matcherv3.HttpRequestQueryParamMatchInput).GetQueryParam()
			if name == "" {
				return nil, errors.New("query_param: must not be empty")
			}
			return &queryParameter{name}, nil
		}, "query_param"),
		inputFactory("status_code_input", &matcherv3.HttpResponseStatusCodeMatchInput{}, func(proto.Message) (Input, error) { return &status{}, nil }),
		inputFactory("status_code_class_input", &matcherv3.HttpResponseStatusCodeClassMatchInput{}, func(proto.Message) (Input, error) { return &status{class: true}, nil }),
	}
}

// networkInputs are known to connections and to HTTP.
func networkInputs() []extension.Factory {
	one := func(name string, m proto.Message, make func(proto.Message) (Input, error), effective ...string) extension.Factory {
		f := inputFactory(name, m, make, effective...)
		f.Category, f.AlsoIn = extension.MatchingNetworkInputs, []string{extension.MatchingHTTPInputs}
		return f
	}
	fact := func(name string, m proto.Message, of func(*streaminfo.Connection) (string, bool)) extension.Factory {
		in := &ofConnection{strings.ReplaceAll(name, "_", " "), of}
		return one(name, m, func(proto.Message) (Input, error) { return in, nil })
	}
	env := one("", &envv3.Config{}, func(m proto.Message) (Input, error) {
		name := m.(*envv3.Config).GetName()
		v, ok := os.LookupEnv(name)
		return &fixed{"environment variable " + name, Value{Text: v, Present: ok}}, nil
	}, "name")
	env.Name = "envoy.matching.common_inputs.environment_variable"
	return []extension.Factory{
		env,
		fact("destination_ip", &networkv3.DestinationIPInput{}, addressOf(local)),
		fact("destination_port", &networkv3.DestinationPortInput{}, portOf(local)),
		fact("source_ip", &networkv3.SourceIPInput{}, addressOf(remote)),
		fact("source_port", &networkv3.SourcePortInput{}, portOf(remote)),
		fact("direct_source_ip", &networkv3.DirectSourceIPInput{}, addressOf(direct)),
		fact("source_type", &networkv3.SourceTypeInput{}, sourceType),
		fact("server_name", &networkv3.ServerNameInput{}, serverName),
		fact("transport_protocol", &networkv3.TransportProtocolInput{}, transportProtocol),
		fact("application_protocol", &networkv3.ApplicationProtocolInput{}, applicationProtocols),
		fact("uri_san", &sslv3.UriSanInput{}, uriSAN),
		fact("dns_san", &sslv3.DnsSanInput{}, dnsSAN),
		fact("subject", &sslv3.SubjectInput{}, subject),
		one("filter_state", &networkv3.FilterStateInput{}, func(m proto.Message) (Input, error) {
			return &filterState{m.(*networkv3.FilterStateInput).GetKey()}, nil
		}, "key"),
		one("dynamic_metadata", &networkv3.DynamicMetadataInput{}, func(m proto.Message) (Input, error) {
			in := &metadata{filter: m.(*networkv3.DynamicMetadataInput).GetFilter()}
			for _, s := range m.(*networkv3.DynamicMetadataInput).GetPath() {
				in.path = append(in.path, s.GetKey())
			}
			return in, nil
		}, "filter", "path"),
	}
}

func valueMatchers() []extension.Factory {
	one := func(name string, m proto.Message, make func(proto.Message) (Matcher, error), effective ...string) extension.Factory {
		return extension.Factory{
			Category: extension.InputMatchers, Name: "envoy.matching.matchers." + name, Config: m, Support: fields(m, effective...),
			Decode: func(m proto.Message) (any, error) { return make(m) },
		}
	}
	ip := one("ip", &ipv3.Ip{}, func(m proto.Message) (Matcher, error) { return decodeIP(m.(*ipv3.Ip)) }, "cidr_ranges")
	ip.Support[string((&ipv3.Ip{}).ProtoReflect().Descriptor().FullName())]["stat_prefix"] = extension.Field{
		Harmless: "it only names a statistic of Envoy's about addresses that cannot be read",
	}
	return []extension.Factory{
		ip,
		one("metadata_matcher", &metadatav3.Metadata{}, func(m proto.Message) (Matcher, error) {
			v, err := decode.ValueMatcher(m.(*metadatav3.Metadata).GetValue())
			if err != nil {
				return nil, fmt.Errorf("value.%w", err)
			}
			return &metadataValue{v, m.(*metadatav3.Metadata).GetInvert()}, nil
		}, "value", "invert"),
		one("consistent_hashing", &hashingv3.ConsistentHashing{}, func(m proto.Message) (Matcher, error) {
			c := m.(*hashingv3.ConsistentHashing)
			switch {
			case c.GetModulo() == 0:
				return nil, errors.New("modulo: must not be 0")
			case c.GetThreshold() > c.GetModulo():
				return nil, fmt.Errorf("threshold: cannot be greater than modulo: %d > %d", c.GetThreshold(), c.GetModulo())
			}
			return &consistentHash{uint64(c.GetThreshold()), uint64(c.GetModulo()), c.GetSeed()}, nil
		}, "threshold", "modulo", "seed"),
		one("runtime_fraction", &fractionv3.RuntimeFraction{}, func(m proto.Message) (Matcher, error) {
			f := m.(*fractionv3.RuntimeFraction)
			return &runtimeFraction{model.Fraction{
				Numerator:   f.GetRuntimeFraction().GetDefaultValue().GetNumerator(),
				Denominator: denominator(f.GetRuntimeFraction().GetDefaultValue().GetDenominator()),
				RuntimeKey:  f.GetRuntimeFraction().GetRuntimeKey(),
			}, f.GetSeed()}, nil
		}, "runtime_fraction", "seed"),
	}
}

func denominator(d typev3.FractionalPercent_DenominatorType) uint32 {
	switch d {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	}
	return 100
}

func decodeIP(m *ipv3.Ip) (Matcher, error) {
	out := &ipRanges{}
	var errs []error
	for i, r := range m.GetCidrRanges() {
		p, err := prefix(r.GetAddressPrefix(), r.GetPrefixLen().GetValue())
		if err != nil {
			errs = append(errs, fmt.Errorf("cidr_ranges[%d]: %w", i, err))
		}
		out.prefixes = append(out.prefixes, p)
	}
	return out, errors.Join(errs...)
}
