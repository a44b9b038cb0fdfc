/**
 * Generated from proto/csi.proto by proto/generate-types.ts: do not edit. Messages as they are received; null is an
 * absent message, an absent property a member of a oneof that is not set. Sendable<…> is what may be sent.
 */
import type { Service } from '../proto.ts';

/** A 64-bit number in decimal. */
export type Long = `${bigint}`;

export type VolumeHealthErrorType = 'UNKNOWN_VOLUME_HEALTH_TYPE' | 'DEGRADED' | 'INACCESSIBLE' | 'DATA_LOSS';
export type StorageHealthErrorType = 'UNKNOWN_STORAGE_HEALTH_ERROR_TYPE' | 'STORAGE_DEGRADED' | 'STORAGE_UNREACHABLE';
export interface GetPluginInfoRequest {}
export interface GetPluginInfoResponse {
  readonly name: string;
  readonly vendorVersion: string;
  readonly manifest: Readonly<Record<string, string>>;
}
export interface GetPluginCapabilitiesRequest {}
export interface GetPluginCapabilitiesResponse {
  readonly capabilities: readonly PluginCapability[];
}
export interface PluginCapability {
  readonly service?: PluginCapability_Service;
  readonly volumeExpansion?: PluginCapability_VolumeExpansion;
  /** Which member of the oneof is set. */
  readonly type?: string;
}
export interface PluginCapability_Service {
  readonly type: PluginCapability_Service_Type;
}
export type PluginCapability_Service_Type =
  | 'UNKNOWN'
  | 'CONTROLLER_SERVICE'
  | 'VOLUME_ACCESSIBILITY_CONSTRAINTS'
  | 'GROUP_CONTROLLER_SERVICE'
  | 'SNAPSHOT_METADATA_SERVICE'
  | 'SNAPSHOT_ACCESSIBILITY_CONSTRAINTS';
export interface PluginCapability_VolumeExpansion {
  readonly type: PluginCapability_VolumeExpansion_Type;
}
export type PluginCapability_VolumeExpansion_Type = 'UNKNOWN' | 'ONLINE' | 'OFFLINE';
export interface ProbeRequest {}
export interface ProbeResponse {
  readonly ready: { readonly value: boolean } | null;
}
export interface CreateVolumeRequest {
  readonly name: string;
  readonly capacityRange: CapacityRange | null;
  readonly volumeCapabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
  readonly volumeContentSource: VolumeContentSource | null;
  readonly accessibilityRequirements: TopologyRequirement | null;
  readonly mutableParameters: Readonly<Record<string, string>>;
}
export interface VolumeContentSource {
  readonly snapshot?: VolumeContentSource_SnapshotSource;
  readonly volume?: VolumeContentSource_VolumeSource;
  /** Which member of the oneof is set. */
  readonly type?: string;
}
export interface VolumeContentSource_SnapshotSource {
  readonly snapshotId: string;
}
export interface VolumeContentSource_VolumeSource {
  readonly volumeId: string;
}
export interface CreateVolumeResponse {
  readonly volume: Volume | null;
}
export interface VolumeCapability {
  readonly block?: VolumeCapability_BlockVolume;
  readonly mount?: VolumeCapability_MountVolume;
  readonly accessMode: VolumeCapability_AccessMode | null;
  /** Which member of the oneof is set. */
  readonly accessType?: string;
}
export interface VolumeCapability_BlockVolume {}
export interface VolumeCapability_MountVolume {
  readonly fsType: string;
  readonly mountFlags: readonly string[];
  readonly volumeMountGroup: string;
}
export interface VolumeCapability_AccessMode {
  readonly mode: VolumeCapability_AccessMode_Mode;
}
export type VolumeCapability_AccessMode_Mode =
  | 'UNKNOWN'
  | 'SINGLE_NODE_WRITER'
  | 'SINGLE_NODE_READER_ONLY'
  | 'MULTI_NODE_READER_ONLY'
  | 'MULTI_NODE_SINGLE_WRITER'
  | 'MULTI_NODE_MULTI_WRITER'
  | 'SINGLE_NODE_SINGLE_WRITER'
  | 'SINGLE_NODE_MULTI_WRITER';
export interface CapacityRange {
  readonly requiredBytes: Long;
  readonly limitBytes: Long;
}
export interface Volume {
  readonly capacityBytes: Long;
  readonly volumeId: string;
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly contentSource: VolumeContentSource | null;
  readonly accessibleTopology: readonly Topology[];
}
export interface TopologyRequirement {
  readonly requisite: readonly Topology[];
  readonly preferred: readonly Topology[];
}
export interface Topology {
  readonly segments: Readonly<Record<string, string>>;
}
export interface DeleteVolumeRequest {
  readonly volumeId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface DeleteVolumeResponse {}
export interface ControllerPublishVolumeRequest {
  readonly volumeId: string;
  readonly nodeId: string;
  readonly volumeCapability: VolumeCapability | null;
  readonly readonly: boolean;
  readonly secrets: Readonly<Record<string, string>>;
  readonly volumeContext: Readonly<Record<string, string>>;
}
export interface ControllerPublishVolumeResponse {
  readonly publishContext: Readonly<Record<string, string>>;
}
export interface ControllerUnpublishVolumeRequest {
  readonly volumeId: string;
  readonly nodeId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface ControllerUnpublishVolumeResponse {}
export interface ValidateVolumeCapabilitiesRequest {
  readonly volumeId: string;
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly volumeCapabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
  readonly mutableParameters: Readonly<Record<string, string>>;
}
export interface ValidateVolumeCapabilitiesResponse {
  readonly confirmed: ValidateVolumeCapabilitiesResponse_Confirmed | null;
  readonly message: string;
}
export interface ValidateVolumeCapabilitiesResponse_Confirmed {
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly volumeCapabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly mutableParameters: Readonly<Record<string, string>>;
}
export interface ListVolumesRequest {
  readonly maxEntries: number;
  readonly startingToken: string;
}
export interface ListVolumesResponse {
  readonly entries: readonly ListVolumesResponse_Entry[];
  readonly nextToken: string;
}
export interface ListVolumesResponse_VolumeStatus {
  readonly publishedNodeIds: readonly string[];
}
export interface ListVolumesResponse_Entry {
  readonly volume: Volume | null;
  readonly status: ListVolumesResponse_VolumeStatus | null;
}
export interface ControllerGetVolumeRequest {
  readonly volumeId: string;
}
export interface ControllerGetVolumeResponse {
  readonly volume: Volume | null;
  readonly status: ControllerGetVolumeResponse_VolumeStatus | null;
}
export interface ControllerGetVolumeResponse_VolumeStatus {
  readonly publishedNodeIds: readonly string[];
}
export interface ControllerModifyVolumeRequest {
  readonly volumeId: string;
  readonly secrets: Readonly<Record<string, string>>;
  readonly mutableParameters: Readonly<Record<string, string>>;
}
export interface ControllerModifyVolumeResponse {}
export interface ControllerExpandVolumeRequest {
  readonly volumeId: string;
  readonly capacityRange: CapacityRange | null;
  readonly secrets: Readonly<Record<string, string>>;
  readonly volumeCapability: VolumeCapability | null;
}
export interface ControllerExpandVolumeResponse {
  readonly capacityBytes: Long;
  readonly nodeExpansionRequired: boolean;
}
export interface GetCapacityRequest {
  readonly volumeCapabilities: readonly VolumeCapability[];
  readonly parameters: Readonly<Record<string, string>>;
  readonly accessibleTopology: Topology | null;
}
export interface GetCapacityResponse {
  readonly availableCapacity: Long;
  readonly maximumVolumeSize: { readonly value: Long } | null;
  readonly minimumVolumeSize: { readonly value: Long } | null;
}
export interface ControllerGetCapabilitiesRequest {}
export interface ControllerGetCapabilitiesResponse {
  readonly capabilities: readonly ControllerServiceCapability[];
}
export interface ControllerServiceCapability {
  readonly rpc?: ControllerServiceCapability_RPC;
  /** Which member of the oneof is set. */
  readonly type?: string;
}
export interface ControllerServiceCapability_RPC {
  readonly type: ControllerServiceCapability_RPC_Type;
}
export type ControllerServiceCapability_RPC_Type =
  | 'UNKNOWN'
  | 'CREATE_DELETE_VOLUME'
  | 'PUBLISH_UNPUBLISH_VOLUME'
  | 'LIST_VOLUMES'
  | 'GET_CAPACITY'
  | 'CREATE_DELETE_SNAPSHOT'
  | 'LIST_SNAPSHOTS'
  | 'CLONE_VOLUME'
  | 'PUBLISH_READONLY'
  | 'EXPAND_VOLUME'
  | 'LIST_VOLUMES_PUBLISHED_NODES'
  | 'GET_VOLUME'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'MODIFY_VOLUME'
  | 'GET_SNAPSHOT'
  | 'GET_VOLUME_HEALTH'
  | 'LIST_VOLUME_HEALTH';
export interface CreateSnapshotRequest {
  readonly sourceVolumeId: string;
  readonly name: string;
  readonly secrets: Readonly<Record<string, string>>;
  readonly parameters: Readonly<Record<string, string>>;
  readonly accessibilityRequirements: TopologyRequirement | null;
}
export interface CreateSnapshotResponse {
  readonly snapshot: Snapshot | null;
}
export interface Snapshot {
  readonly sizeBytes: Long;
  readonly snapshotId: string;
  readonly sourceVolumeId: string;
  readonly creationTime: { readonly seconds: Long; readonly nanos: number } | null;
  readonly readyToUse: boolean;
  readonly groupSnapshotId: string;
  readonly accessibleTopology: readonly Topology[];
}
export interface DeleteSnapshotRequest {
  readonly snapshotId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface DeleteSnapshotResponse {}
export interface ListSnapshotsRequest {
  readonly maxEntries: number;
  readonly startingToken: string;
  readonly sourceVolumeId: string;
  readonly snapshotId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface ListSnapshotsResponse {
  readonly entries: readonly ListSnapshotsResponse_Entry[];
  readonly nextToken: string;
}
export interface ListSnapshotsResponse_Entry {
  readonly snapshot: Snapshot | null;
}
export interface GetSnapshotRequest {
  readonly snapshotId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface GetSnapshotResponse {
  readonly snapshot: Snapshot | null;
}
export interface NodeStageVolumeRequest {
  readonly volumeId: string;
  readonly publishContext: Readonly<Record<string, string>>;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability | null;
  readonly secrets: Readonly<Record<string, string>>;
  readonly volumeContext: Readonly<Record<string, string>>;
}
export interface NodeStageVolumeResponse {}
export interface NodeUnstageVolumeRequest {
  readonly volumeId: string;
  readonly stagingTargetPath: string;
}
export interface NodeUnstageVolumeResponse {}
export interface NodePublishVolumeRequest {
  readonly volumeId: string;
  readonly publishContext: Readonly<Record<string, string>>;
  readonly stagingTargetPath: string;
  readonly targetPath: string;
  readonly volumeCapability: VolumeCapability | null;
  readonly readonly: boolean;
  readonly secrets: Readonly<Record<string, string>>;
  readonly volumeContext: Readonly<Record<string, string>>;
}
export interface NodePublishVolumeResponse {}
export interface NodeUnpublishVolumeRequest {
  readonly volumeId: string;
  readonly targetPath: string;
}
export interface NodeUnpublishVolumeResponse {}
export interface NodeGetVolumeStatsRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  readonly stagingTargetPath: string;
}
export interface NodeGetVolumeStatsResponse {
  readonly usage: readonly VolumeUsage[];
}
export interface VolumeUsage {
  readonly available: Long;
  readonly total: Long;
  readonly used: Long;
  readonly unit: VolumeUsage_Unit;
}
export type VolumeUsage_Unit = 'UNKNOWN' | 'BYTES' | 'INODES';
export interface NodeExpandVolumeRequest {
  readonly volumeId: string;
  readonly volumePath: string;
  readonly capacityRange: CapacityRange | null;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability | null;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface NodeExpandVolumeResponse {
  readonly capacityBytes: Long;
}
export interface NodeGetCapabilitiesRequest {}
export interface NodeGetCapabilitiesResponse {
  readonly capabilities: readonly NodeServiceCapability[];
}
export interface NodeServiceCapability {
  readonly rpc?: NodeServiceCapability_RPC;
  /** Which member of the oneof is set. */
  readonly type?: string;
}
export interface NodeServiceCapability_RPC {
  readonly type: NodeServiceCapability_RPC_Type;
}
export type NodeServiceCapability_RPC_Type =
  | 'UNKNOWN'
  | 'STAGE_UNSTAGE_VOLUME'
  | 'GET_VOLUME_STATS'
  | 'EXPAND_VOLUME'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'VOLUME_MOUNT_GROUP'
  | 'GET_VOLUME_HEALTH'
  | 'GET_STORAGE_HEALTH';
export interface NodeGetInfoRequest {}
export interface NodeGetInfoResponse {
  readonly nodeId: string;
  readonly maxVolumesPerNode: Long;
  readonly accessibleTopology: Topology | null;
}
export interface VolumeHealth {
  readonly volumeId: string;
  readonly healthStatuses: readonly VolumeHealth_VolumeHealthEntry[];
}
export interface VolumeHealth_VolumeHealthEntry {
  readonly status: VolumeHealthErrorType;
  readonly reason: string;
  readonly message: string;
}
export interface ControllerListVolumeHealthRequest {
  readonly maxEntries: number;
  readonly startingToken: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface ControllerListVolumeHealthResponse {
  readonly entries: readonly VolumeHealth[];
  readonly nextToken: string;
}
export interface ControllerGetVolumeHealthRequest {
  readonly volumeId: string;
  readonly secrets: Readonly<Record<string, string>>;
}
export interface ControllerGetVolumeHealthResponse {
  readonly volumeHealth: VolumeHealth | null;
}
export interface NodeGetVolumeHealthRequest {
  readonly volumeId: string;
  readonly volumePublishPath: string;
  readonly stagingTargetPath: string;
}
export interface NodeGetVolumeHealthResponse {
  readonly volumeHealth: VolumeHealth | null;
}
export interface NodeGetStorageHealthRequest {
  readonly secrets: Readonly<Record<string, string>>;
}
export interface NodeGetStorageHealthResponse {
  readonly backendHealth: readonly NodeGetStorageHealthResponse_StorageBackendHealth[];
}
export interface NodeGetStorageHealthResponse_StorageBackendHealth {
  readonly status: StorageHealthErrorType;
  readonly reason: string;
  readonly message: string;
  readonly volumeCapability: VolumeCapability | null;
}
export interface IdentityMessages {
  readonly getPluginInfo: { readonly request: GetPluginInfoRequest; readonly response: GetPluginInfoResponse };
  readonly getPluginCapabilities: { readonly request: GetPluginCapabilitiesRequest; readonly response: GetPluginCapabilitiesResponse };
  readonly probe: { readonly request: ProbeRequest; readonly response: ProbeResponse };
}
export type Identity = Service<IdentityMessages>;
export interface ControllerMessages {
  readonly createVolume: { readonly request: CreateVolumeRequest; readonly response: CreateVolumeResponse };
  readonly deleteVolume: { readonly request: DeleteVolumeRequest; readonly response: DeleteVolumeResponse };
  readonly controllerPublishVolume: {
    readonly request: ControllerPublishVolumeRequest;
    readonly response: ControllerPublishVolumeResponse;
  };
  readonly controllerUnpublishVolume: {
    readonly request: ControllerUnpublishVolumeRequest;
    readonly response: ControllerUnpublishVolumeResponse;
  };
  readonly validateVolumeCapabilities: {
    readonly request: ValidateVolumeCapabilitiesRequest;
    readonly response: ValidateVolumeCapabilitiesResponse;
  };
  readonly listVolumes: { readonly request: ListVolumesRequest; readonly response: ListVolumesResponse };
  readonly controllerListVolumeHealth: {
    readonly request: ControllerListVolumeHealthRequest;
    readonly response: ControllerListVolumeHealthResponse;
  };
  readonly controllerGetVolumeHealth: {
    readonly request: ControllerGetVolumeHealthRequest;
    readonly response: ControllerGetVolumeHealthResponse;
  };
  readonly getCapacity: { readonly request: GetCapacityRequest; readonly response: GetCapacityResponse };
  readonly controllerGetCapabilities: {
    readonly request: ControllerGetCapabilitiesRequest;
    readonly response: ControllerGetCapabilitiesResponse;
  };
  readonly createSnapshot: { readonly request: CreateSnapshotRequest; readonly response: CreateSnapshotResponse };
  readonly deleteSnapshot: { readonly request: DeleteSnapshotRequest; readonly response: DeleteSnapshotResponse };
  readonly listSnapshots: { readonly request: ListSnapshotsRequest; readonly response: ListSnapshotsResponse };
  readonly getSnapshot: { readonly request: GetSnapshotRequest; readonly response: GetSnapshotResponse };
  readonly controllerExpandVolume: { readonly request: ControllerExpandVolumeRequest; readonly response: ControllerExpandVolumeResponse };
  readonly controllerGetVolume: { readonly request: ControllerGetVolumeRequest; readonly response: ControllerGetVolumeResponse };
  readonly controllerModifyVolume: { readonly request: ControllerModifyVolumeRequest; readonly response: ControllerModifyVolumeResponse };
}
export type Controller = Service<ControllerMessages>;
export interface NodeMessages {
  readonly nodeStageVolume: { readonly request: NodeStageVolumeRequest; readonly response: NodeStageVolumeResponse };
  readonly nodeUnstageVolume: { readonly request: NodeUnstageVolumeRequest; readonly response: NodeUnstageVolumeResponse };
  readonly nodePublishVolume: { readonly request: NodePublishVolumeRequest; readonly response: NodePublishVolumeResponse };
  readonly nodeUnpublishVolume: { readonly request: NodeUnpublishVolumeRequest; readonly response: NodeUnpublishVolumeResponse };
  readonly nodeGetVolumeStats: { readonly request: NodeGetVolumeStatsRequest; readonly response: NodeGetVolumeStatsResponse };
  readonly nodeGetVolumeHealth: { readonly request: NodeGetVolumeHealthRequest; readonly response: NodeGetVolumeHealthResponse };
  readonly nodeGetStorageHealth: { readonly request: NodeGetStorageHealthRequest; readonly response: NodeGetStorageHealthResponse };
  readonly nodeExpandVolume: { readonly request: NodeExpandVolumeRequest; readonly response: NodeExpandVolumeResponse };
  readonly nodeGetCapabilities: { readonly request: NodeGetCapabilitiesRequest; readonly response: NodeGetCapabilitiesResponse };
  readonly nodeGetInfo: { readonly request: NodeGetInfoRequest; readonly response: NodeGetInfoResponse };
}
export type Node = Service<NodeMessages>;
