package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// data reads a data source. file is its path when it is a file. ok is false after an error; validation
// reports a data source that is there but empty.
func (c *call) data(d *corev3.DataSource, p *path) (b []byte, file string, ok bool) {
	switch k := d.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		b, err := c.t.opt.ReadFile(k.Filename)
		if err != nil {
			c.fail(p.field("filename"), "read data source: %v", err)
			return nil, "", false
		}
		c.files = append(c.files, k.Filename)
		c.content = append(c.content, b...)
		return b, k.Filename, true
	case *corev3.DataSource_InlineBytes:
		return k.InlineBytes, "", true
	case *corev3.DataSource_InlineString:
		return []byte(k.InlineString), "", true
	case *corev3.DataSource_EnvironmentVariable:
		v, found := c.t.opt.LookupEnv(k.EnvironmentVariable)
		if !found {
			c.fail(p.field("environment_variable"), "environment variable %s does not exist", k.EnvironmentVariable)
			return nil, "", false
		}
		c.content = append(c.content, v...)
		return []byte(v), "", true
	}
	if d == nil {
		c.fail(p, "a data source must be set: filename, inline_string, inline_bytes or environment_variable")
	}
	return nil, "", false
}
