package accesslog

import (
	"errors"
	"fmt"
	"os"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Factories describes the access loggers of this package: envoy.access_loggers.file, .stdout and .stderr.
func Factories() []extension.Factory {
	return []extension.Factory{
		{
			Category: extension.AccessLoggers, Name: "envoy.access_loggers.file", Aliases: []string{"envoy.file_access_log"},
			Config: &filev3.FileAccessLog{}, Decode: func(m proto.Message) (any, error) { return decodeFile(m.(*filev3.FileAccessLog)) },
			Support: support("envoy.extensions.access_loggers.file.v3.FileAccessLog", "path", "format", "json_format", "typed_json_format", "log_format"),
		},
		{
			Category: extension.AccessLoggers, Name: "envoy.access_loggers.stdout", Config: &streamv3.StdoutAccessLog{},
			Decode: func(m proto.Message) (any, error) {
				return decodeStream("/dev/stdout", m.(*streamv3.StdoutAccessLog).GetLogFormat())
			},
			Support: support("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", "log_format"),
		},
		{
			Category: extension.AccessLoggers, Name: "envoy.access_loggers.stderr", Config: &streamv3.StderrAccessLog{},
			Decode: func(m proto.Message) (any, error) {
				return decodeStream("/dev/stderr", m.(*streamv3.StderrAccessLog).GetLogFormat())
			},
			Support: support("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", "log_format"),
		},
	}
}

// support says that the listed fields of an access logger take effect, and what becomes of those of its format.
func support(message string, effective ...string) map[string]extension.Fields {
	fields := extension.Fields{}
	for _, f := range effective {
		fields[f] = extension.Field{}
	}
	return map[string]extension.Fields{
		message: fields,
		"envoy.config.core.v3.SubstitutionFormatString": {
			"text_format": {}, "text_format_source": {}, "json_format": {}, "omit_empty_values": {}, "formatters": {},
			"content_type":        {Harmless: "only read for local replies, since an access log has no content type"},
			"json_format_options": {Harmless: "keys are always sorted"},
		},
	}
}

func decodeFile(m *filev3.FileAccessLog) (*File, error) {
	if m.GetPath() == "" {
		return nil, errors.New("path: must not be empty")
	}
	var e Encoder
	var err error
	switch f := m.GetAccessLogFormat().(type) {
	case *filev3.FileAccessLog_Format:
		if e, err = format.Compile(orDefault(f.Format)); err != nil {
			return nil, fmt.Errorf("format: %w", err)
		}
	case *filev3.FileAccessLog_JsonFormat:
		if e, err = format.CompileJSON(f.JsonFormat.AsMap(), format.JSONOptions{}); err != nil {
			return nil, fmt.Errorf("json_format: %w", err)
		}
	case *filev3.FileAccessLog_TypedJsonFormat:
		if e, err = format.CompileJSON(f.TypedJsonFormat.AsMap(), format.JSONOptions{Typed: true}); err != nil {
			return nil, fmt.Errorf("typed_json_format: %w", err)
		}
	case *filev3.FileAccessLog_LogFormat:
		if e, err = DecodeFormat(f.LogFormat); err != nil {
			return nil, fmt.Errorf("log_format: %w", err)
		}
	default:
		e, err = format.Compile(format.Default)
	}
	return &File{Path: m.GetPath(), Format: e}, err
}

func orDefault(s string) string {
	if s == "" {
		return format.Default
	}
	return s
}

func decodeStream(path string, f *corev3.SubstitutionFormatString) (*File, error) {
	e, err := DecodeFormat(f)
	if err != nil {
		return nil, fmt.Errorf("log_format: %w", err)
	}
	return &File{Path: path, Format: e}, nil
}

// DecodeFormat compiles a SubstitutionFormatString; nil is the default format.
func DecodeFormat(m *corev3.SubstitutionFormatString) (Encoder, error) {
	if m == nil {
		return format.Compile(format.Default)
	}
	for i, f := range m.GetFormatters() {
		switch f.GetName() {
		case "envoy.formatter.req_without_query", "envoy.formatter.metadata": // built in
		default:
			return nil, fmt.Errorf("formatters[%d]: formatter %q is not supported", i, f.GetName())
		}
	}
	var opts []format.Option
	if m.GetOmitEmptyValues() {
		opts = append(opts, format.OmitEmpty())
	}
	switch f := m.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		return format.Compile(f.TextFormat, opts...)
	case *corev3.SubstitutionFormatString_JsonFormat:
		return format.CompileJSON(f.JsonFormat.AsMap(), format.JSONOptions{Typed: true, OmitEmpty: m.GetOmitEmptyValues()})
	case *corev3.SubstitutionFormatString_TextFormatSource:
		text, err := readSource(f.TextFormatSource)
		if err != nil {
			return nil, fmt.Errorf("text_format_source: %w", err)
		}
		return format.Compile(text, opts...)
	}
	return nil, errors.New("format: must be set")
}

func readSource(s *corev3.DataSource) (string, error) {
	switch s := s.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		b, err := os.ReadFile(s.Filename)
		return string(b), err
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	case *corev3.DataSource_InlineString:
		return s.InlineString, nil
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			return "", fmt.Errorf("environment variable %q is not set", s.EnvironmentVariable)
		}
		return v, nil
	}
	return "", errors.New("must have a specifier")
}

// DecodeFilter turns an access log filter into what model.AccessLog.Filter holds (a Filter). Errors name the field.
func DecodeFilter(m *accesslogv3.AccessLogFilter) (any, error) {
	f, err := decodeFilter(m)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func decodeFilter(m *accesslogv3.AccessLogFilter) (Filter, error) {
	switch s := m.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		c, err := decodeComparison(s.StatusCodeFilter.GetComparison())
		return statusFilter{c}, wrap("status_code_filter", err)
	case *accesslogv3.AccessLogFilter_DurationFilter:
		c, err := decodeComparison(s.DurationFilter.GetComparison())
		return durationFilter{c}, wrap("duration_filter", err)
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		return decodeRuntimeFilter(s.RuntimeFilter)
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return notHealthCheckFilter{}, nil
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		f, err := decodeFlags(s.ResponseFlagFilter.GetFlags())
		return f, wrap("response_flag_filter", err)
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		h, err := decode.HeaderMatcher(s.HeaderFilter.GetHeader())
		return &headerFilter{h}, wrap("header_filter.header", err)
	case *accesslogv3.AccessLogFilter_AndFilter:
		list, err := decodeFilters(s.AndFilter.GetFilters())
		return andFilter(list), wrap("and_filter", err)
	case *accesslogv3.AccessLogFilter_OrFilter:
		list, err := decodeFilters(s.OrFilter.GetFilters())
		return orFilter(list), wrap("or_filter", err)
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		f := &grpcFilter{exclude: s.GrpcStatusFilter.GetExclude()}
		for _, v := range s.GrpcStatusFilter.GetStatuses() {
			f.statuses = append(f.statuses, uint64(v))
		}
		return f, nil
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		f := &typeFilter{exclude: s.LogTypeFilter.GetExclude()}
		for _, v := range s.LogTypeFilter.GetTypes() {
			f.types = append(f.types, format.LogType(v))
		}
		return f, nil
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		f, err := decodeMetadataFilter(s.MetadataFilter)
		return f, wrap("metadata_filter", err)
	case nil:
		return nil, errors.New("filter_specifier: must be set")
	}
	set := m.ProtoReflect().WhichOneof(m.ProtoReflect().Descriptor().Oneofs().ByName("filter_specifier"))
	return nil, fmt.Errorf("%s: is not supported", set.Name())
}

func wrap(field string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

func decodeFilters(ms []*accesslogv3.AccessLogFilter) ([]Filter, error) {
	if len(ms) < 2 {
		return nil, fmt.Errorf("filters: needs two at least, has %d", len(ms))
	}
	var out []Filter
	var errs []error
	for i, m := range ms {
		f, err := decodeFilter(m)
		if err != nil {
			errs = append(errs, fmt.Errorf("filters[%d].%w", i, err))
		}
		out = append(out, f)
	}
	return out, errors.Join(errs...)
}

func decodeComparison(m *accesslogv3.ComparisonFilter) (comparison, error) {
	c := comparison{value: uint64(m.GetValue().GetDefaultValue()), key: m.GetValue().GetRuntimeKey()}
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		c.op = '='
	case accesslogv3.ComparisonFilter_GE:
		c.op = '>'
	case accesslogv3.ComparisonFilter_LE:
		c.op = '<'
	case accesslogv3.ComparisonFilter_NE:
		c.op = '!'
	default:
		return c, fmt.Errorf("comparison.op: %v is not known", m.GetOp())
	}
	return c, nil
}

// decodeMetadataFilter ignores the matcher's invert, as Envoy does.
func decodeMetadataFilter(m *accesslogv3.MetadataFilter) (*metadataFilter, error) {
	f := &metadataFilter{filter: m.GetMatcher().GetFilter(), missing: true}
	if v := m.GetMatchIfKeyNotFound(); v != nil {
		f.missing = v.GetValue()
	}
	if m.GetMatcher() == nil {
		return f, nil
	}
	for _, s := range m.GetMatcher().GetPath() {
		f.path = append(f.path, s.GetKey())
	}
	var err error
	f.value, err = decode.ValueMatcher(m.GetMatcher().GetValue())
	return f, wrap("matcher.value", err)
}

func decodeFlags(names []string) (flagFilter, error) {
	var out streaminfo.Flags
	var errs []error
	for _, name := range names {
		flag := streaminfo.Flags(0)
		for bit := streaminfo.Flags(1); bit <= streaminfo.DownstreamRemoteReset; bit <<= 1 {
			if bit.String() == name {
				flag = bit
			}
		}
		if flag == 0 {
			errs = append(errs, fmt.Errorf("flags: %q is not a response flag", name))
		}
		out |= flag
	}
	return flagFilter(out), errors.Join(errs...)
}
