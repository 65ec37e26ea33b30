package protoyaml

// RemovedFields lets the external tests, which know Envoy's types, check the table.
func RemovedFields() map[string]string { return removedFields() }
