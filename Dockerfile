# One small static image per program: docker build --build-arg NAME=orderer .
# Reproducible: no build ids, no paths, no time stamps of ours (SOURCE_DATE_EPOCH sets
# those of the image); several architectures by docker buildx build
# --platform linux/amd64,linux/arm64. The flags are those of tools/images.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG NAME
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags timetzdata -buildvcs=false -ldflags="-s -w -buildid=" -o /out/program ./cmd/$NAME

# Nothing but the program and the certificates to trust the suppliers by.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/program /program
USER 65532:65532
ENTRYPOINT ["/program"]
