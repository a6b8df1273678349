package schemas

import "embed"

// JSON holds the JSON Schemas of every message, as json/<type>.json.
//
//go:embed json/*.json
var JSON embed.FS

// AsyncAPI is the document of every subject, who writes it and who reads it.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
