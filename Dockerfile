# One small static image per program: docker build --build-arg NAME=orderer .
# Reproducible: no build ids, no paths, no time stamps of ours; several
# architectures by docker buildx build --platform linux/amd64,linux/arm64.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG NAME
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /out/program ./cmd/$NAME

# Nothing but the program, the certificates to trust the suppliers by, and the
# zones that RECON_SUPPLIER_ZONE may name.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build /out/program /program
ENV ZONEINFO=/zoneinfo.zip
USER 65532:65532
ENTRYPOINT ["/program"]
