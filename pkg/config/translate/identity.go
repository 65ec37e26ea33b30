package translate

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// resourceName is how errors call a resource.
func resourceName(kind, name string) string { return fmt.Sprintf("%s %q", kind, name) }

// identity fills in what every resource carries.
func (c *call) identity(name string, m proto.Message) model.Resource {
	return model.Resource{
		Name: name, Version: c.meta.Version, UpdatedAt: c.meta.UpdatedAt, Dynamic: c.meta.Dynamic, Hash: c.t.Hash(m),
	}
}

// isKnown tells that err is about an extension that Envoy, or a proxy that is built on it, has and weir has not.
func isKnown(err error) bool {
	unknown, ok := errors.AsType[*extension.UnknownError](err)
	return ok && (unknown.Known || unknown.Owner != "")
}
