/**
 * A campaign of the torture runner: a file of test/torture/campaigns/ that exports `run` of this type.
 *
 * - Its first case is the one that `seed` names; a failure is thrown with the line that runs just that case again.
 * - It ends soon after `seconds`, has done at least one case, and leaves nothing behind, also when it fails.
 */
export interface CampaignOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
}

export interface CampaignResult {
  readonly cases: number;
}

export type Campaign = (options: CampaignOptions) => Promise<CampaignResult>;

/** The command that runs the case that `seed` names first; one second, so that it is about the only one. */
export function replayLine(options: { readonly campaign: string; readonly seed: number }): string {
  return `replay: make torture SECONDS=1 CAMPAIGN=${options.campaign} SEED=${options.seed}`;
}
