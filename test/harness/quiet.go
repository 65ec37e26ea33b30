package harness

import (
	"io"
	"log"
)

// quiet is a log for servers whose errors the tests look at from the other side.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
